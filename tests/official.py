"""Official checkpoints as section 2 of the reference notes describes them, made the slow and obvious way."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor

from glm130b.config import ModelConfig
from glm130b.planning import parameter_shapes


def random_tensors(config: ModelConfig, seed: int = 0, dtype: torch.dtype = torch.float16) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: (torch.randn(shape, generator=generator) * 0.5).to(dtype)
        for name, shape in parameter_shapes(config).items()
    }


def slow_shard(name: str, tensor: Tensor, rank: int, degree: int) -> Tensor:
    """Row by row, column by column."""
    if name == "word_embeddings.weight" or "query_key_value" in name:
        count = tensor.shape[0] // degree
        return torch.stack([tensor[rank * count + row] for row in range(count)])
    if "dense_h_to_4h" in name:
        inner = tensor.shape[0] // 2
        count = inner // degree
        value = [tensor[rank * count + row] for row in range(count)]
        gate = [tensor[inner + rank * count + row] for row in range(count)]
        return torch.stack(value + gate)
    if name.endswith(("attention.dense.weight", "mlp.dense_4h_to_h.weight")):
        count = tensor.shape[1] // degree
        return torch.stack([tensor[:, rank * count + column] for column in range(count)], dim=1)
    return tensor


def slow_quantize(weight: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """Section 7, value by value."""
    largest = 127 if bits == 8 else 7
    rows, scales = [], []
    for row in weight.half():
        scale = row.abs().max() / largest
        integers = [int(torch.round(value / scale)) if scale > 0 else 0 for value in row]
        if bits == 4:
            nibbles = [value & 15 for value in integers]
            packed = [high << 4 | low for high, low in zip(nibbles[::2], nibbles[1::2], strict=True)]
            integers = [byte - 256 if byte > 127 else byte for byte in packed]
        rows.append(integers)
        scales.append(scale)
    return torch.tensor(rows, dtype=torch.int8), torch.stack(scales)


def write_official(
    path: Path,
    tensors: dict[str, Tensor],
    config: ModelConfig,
    degree: int,
    *,
    bits: int | None = None,
    latest: str = "7",
    rotary_key: str = "transformer.layers.{}.attention.rotary_emb.inv_freq",
    extra: dict[str, object] | None = None,
) -> None:
    """A whole checkpoint, through ``torch.save``."""
    folder = path / latest.strip()
    folder.mkdir(parents=True)
    frequencies = torch.rand(config.head_size // 2).half()
    for rank in range(degree):
        module = {}
        for name, tensor in tensors.items():
            piece = slow_shard(name, tensor, rank, degree)
            if bits and name.startswith("layers.") and name.endswith("weight") and "layernorm" not in name:
                piece, module[f"transformer.{name}_scale"] = slow_quantize(piece, bits)
            module[f"transformer.{name}"] = piece
        for layer in range(config.num_layers):
            module[rotary_key.format(layer)] = frequencies
        torch.save({"module": module, **(extra or {})}, folder / f"mp_rank_{rank:02d}_model_states.pt")
    (path / "latest").write_text(latest)


def described(config: ModelConfig, tmp_path: Path) -> str:
    file = tmp_path / "sizes.json"
    file.write_text(json.dumps({"num_attention_heads": config.num_heads, "max_sequence_length": 32}))
    return str(file)
