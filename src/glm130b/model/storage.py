"""A model folder's weights and ``config.json``.

``model-00001-of-0000N.safetensors`` and, written last, ``model.safetensors.index.json``. Weights are
memory-mapped when read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from glm130b.config import ModelConfig
from glm130b.errors import ModelError
from glm130b.files import read_json, write_json
from glm130b.model.glm import GLM

INDEX = "model.safetensors.index.json"
_FORMAT_VERSION = 1
MAX_SHARD_BYTES = 4 * 2**30

Bits = Literal[8, 4]


@dataclass(frozen=True)
class FolderInfo:
    """What ``config.json`` says."""

    model: ModelConfig
    bits: Bits | None
    """Of the linear weights; None if they are not quantised."""
    tokenizer: str
    """Fingerprint of the tokenizer whose ids the embedding's rows stand for."""


def write_tensors(
    folder: Path,
    tensors: Iterable[tuple[str, Tensor]],
    config: ModelConfig,
    *,
    tokenizer: str,
    bits: Bits | None = None,
    max_shard_bytes: int = MAX_SHARD_BYTES,
) -> None:
    """Write weights, ``config.json`` and, last, the index into an existing ``folder``; holds one shard at a time."""
    write_json(
        folder / "config.json",
        {
            "model_type": "glm130b",
            "format_version": _FORMAT_VERSION,
            **config.model_dump(mode="json"),
            "tokenizer_fingerprint": tokenizer,
            "quantization": None if bits is None else {"bits": bits, "granularity": "row", "symmetric": True},
        },
    )
    parts: list[tuple[Path, list[str]]] = []
    shard: dict[str, Tensor] = {}
    total = shard_bytes = 0

    def flush() -> None:
        nonlocal shard, shard_bytes
        part = folder / f"part-{len(parts) + 1}"
        save_file(shard, part, metadata={"format": "pt"})
        parts.append((part, list(shard)))
        shard, shard_bytes = {}, 0

    for name, tensor in tensors:
        if shard and shard_bytes + tensor.nbytes > max_shard_bytes:
            flush()
        shard[name] = tensor.detach().cpu().contiguous()
        shard_bytes += tensor.nbytes
        total += tensor.nbytes
    flush()
    weight_map: dict[str, str] = {}
    for number, (part, names) in enumerate(parts, start=1):
        file = f"model-{number:05d}-of-{len(parts):05d}.safetensors"
        part.rename(folder / file)
        weight_map.update(dict.fromkeys(names, file))
    write_json(folder / INDEX, {"metadata": {"total_size": total}, "weight_map": weight_map})


def read_info(path: Path) -> FolderInfo:
    """Read ``config.json``.

    Raises:
        ModelError: missing, malformed, or of a later format.
    """
    content = read_json(path / "config.json", ModelError)
    try:
        version = content.pop("format_version")
        quantization = content.pop("quantization")
        tokenizer = str(content.pop("tokenizer_fingerprint"))
        bits = None if quantization is None else quantization["bits"]
        if bits not in (None, 8, 4):
            raise ModelError(f"{path} is quantised to {bits} bits.", "This version reads 8 and 4.")
        if content.pop("model_type") != "glm130b" or version != _FORMAT_VERSION:
            raise ModelError(
                f"{path} is not a glm130b model folder of format {_FORMAT_VERSION}.",
                "Convert it, or update glm130b.",
            )
        return FolderInfo(ModelConfig.model_validate(content), bits, tokenizer)
    except (ValidationError, KeyError, AttributeError, TypeError) as error:
        raise ModelError(
            f"{path / 'config.json'} does not describe a model ({str(error).splitlines()[0]}).",
            "Make or copy it again.",
        ) from None


def read_tensors(path: Path) -> Iterator[tuple[str, Tensor]]:
    """The folder's tensors by name, memory-mapped, in the order they were written.

    Raises:
        ModelError: no index (the folder is incomplete), or a shard that is missing or damaged, by name.
    """
    index = read_json(path / INDEX, ModelError)
    try:
        weight_map = {str(name): str(file) for name, file in index["weight_map"].items()}
    except (KeyError, TypeError, AttributeError):
        raise ModelError(f"{path / INDEX} is not an index of weights.", "Make or copy the folder again.") from None
    for file in dict.fromkeys(weight_map.values()):
        try:
            with safe_open(path / file, framework="pt") as shard:
                for name in (name for name, home in weight_map.items() if home == file):
                    yield name, shard.get_tensor(name)
        except FileNotFoundError:
            raise ModelError(f"{path / file} is missing.", "Make or copy the folder again.") from None
        except (SafetensorError, OSError) as error:
            raise ModelError(
                f"{path / file} is truncated or damaged ({error}).",
                "Copy it again, or use an earlier checkpoint.",
            ) from None


def assign_tensors(
    model: GLM,
    tensors: Iterable[tuple[str, Tensor]],
    origin: str,
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
) -> None:
    """Make ``tensors`` the parameters and buffers of a model built on the meta device.

    Raises:
        ModelError: a tensor is missing, superfluous or of the wrong shape; names it and ``origin``.
    """
    state: dict[str, Tensor] = {}
    for name, tensor in checked_tensors(model, tensors, origin):
        if not name.endswith(".weight_scale") and tensor.is_floating_point():
            half_on_cpu = tensor.dtype in (torch.float16, torch.bfloat16) and torch.device(device).type == "cpu"
            tensor = tensor.to(dtype or (torch.float32 if half_on_cpu else tensor.dtype))
        state[name] = tensor.to(device)
    model.load_state_dict(state, assign=True)


def checked_tensors(model: GLM, tensors: Iterable[tuple[str, Tensor]], origin: str) -> Iterator[tuple[str, Tensor]]:
    """Pass on ``tensors`` that are just the parameters and buffers of ``model``.

    Raises:
        ModelError: one is missing, superfluous or of the wrong shape; names it and ``origin``.
    """
    wanted = {name: tensor.shape for name, tensor in model.state_dict().items()}
    for name, tensor in tensors:
        shape = wanted.pop(name, None)
        if shape is None:
            raise ModelError(f"{origin} holds {name}, which the model does not have.", "Check the configuration.")
        if tensor.shape != shape:
            raise ModelError(
                f"{origin}: {name} is {list(tensor.shape)}, the model wants {list(shape)}.", "Check the configuration."
            )
        yield name, tensor
    if wanted:
        raise ModelError(
            f"{origin} lacks {next(iter(wanted))} ({len(wanted)} tensors in all).", "Make or copy it again."
        )


def checkpoints(run: Path) -> list[Path]:
    """The checkpoints of a run folder, oldest first: model folders ``checkpoints/step-<number>``."""
    found = [path for path in (run / "checkpoints").glob("step-*") if path.name.removeprefix("step-").isdecimal()]
    return sorted(found, key=lambda path: int(path.name.removeprefix("step-")))
