"""Model folders in the Hugging Face layout: weights, ``config.json`` and the tokenizer's files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from glm130b.config import ModelConfig
from glm130b.errors import ConfigError, DataError, ModelError
from glm130b.files import whole_folder
from glm130b.model import (
    GLM,
    MAX_SHARD_BYTES,
    Bits,
    assign_tensors,
    checked_device,
    checkpoints,
    read_info,
    read_tensors,
    write_tensors,
)
from glm130b.quantization import quantize_tensors, use_quantized_linears
from glm130b.tokenization import Tokenizer


def write_folder(
    path: Path,
    tensors: Iterable[tuple[str, Tensor]],
    config: ModelConfig,
    tokenizer: Tokenizer,
    *,
    bits: Bits | None = None,
    max_shard_bytes: int = MAX_SHARD_BYTES,
) -> None:
    """Write a model folder that appears under its name only when it is whole."""
    with whole_folder(path) as folder:
        tokenizer.save(folder)
        write_tensors(
            folder, tensors, config, tokenizer=tokenizer.fingerprint, bits=bits, max_shard_bytes=max_shard_bytes
        )


def resolve(path: str | Path) -> Path:
    """The model folder meant by ``path``: itself, or the newest checkpoint of a run folder.

    Raises:
        ModelError: neither.
    """
    path = Path(path)
    if (path / "config.json").is_file():
        return path
    if found := checkpoints(path):
        return found[-1]
    if not path.exists():
        raise ModelError(f"There is no model folder {path}.", "`glm demo` or `glm train` makes one.")
    raise ModelError(
        f"{path} holds neither config.json nor checkpoints/step-*.",
        "Give a model folder or a run that has saved.",
    )


def load_model(
    path: str | Path,
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
    bits: Bits | None = None,
) -> GLM:
    """Open the model of a model or run folder, ready for inference.

    Args:
        dtype: of embeddings, norms, biases and unquantised weights; default as stored, but FP32 for half
            precision on a CPU.
        bits: quantise the linear weights while loading; not needed for a folder that is quantised.

    Raises:
        ModelError: missing, damaged, or a tensor that is missing, superfluous or of the wrong shape.
        ResourceError: no such device.
    """
    path = resolve(path)
    info = read_info(path)
    device = checked_device(device)
    _check_bits(bits)
    if bits is not None and info.bits not in (None, bits):
        raise ModelError(f"{path} is quantised to {info.bits} bits already.", f"Quantise the original to {bits} bits.")
    tensors = read_tensors(path)
    if bits is not None and info.bits is None:
        tensors = quantize_tensors(tensors, bits)
    bits = bits or info.bits
    with torch.device("meta"):
        model = GLM(info.model)
        if bits is not None:
            use_quantized_linears(model, bits)
    assign_tensors(model, tensors, str(path), dtype=dtype, device=device)
    return model.eval().requires_grad_(False)


def load(
    path: str | Path,
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
    bits: Bits | None = None,
) -> tuple[GLM, Tokenizer]:
    """Open a model folder: ``model, tokenizer = glm130b.load("runs/demo")``; arguments as in ``load_model``.

    Raises:
        DataError: the tokenizer is missing or not the one the model was trained with.
    """
    path = resolve(path)
    tokenizer = Tokenizer.load(path)
    info = read_info(path)
    tokenizer.check_fits(info.model.vocab_size)
    if tokenizer.fingerprint != info.tokenizer:
        raise DataError(f"{path} holds another tokenizer than its model was trained with.", "Copy the folder again.")
    model = load_model(path, dtype=dtype, device=device, bits=bits)
    return model, tokenizer


def quantize_folder(source: str | Path, destination: Path, bits: Bits) -> None:
    """Write a quantised copy of a model folder, tensor by tensor.

    Raises:
        ModelError: the source is quantised already or cannot be.
        DataError: the destination exists.
    """
    _check_bits(bits)
    source = resolve(source)
    info = read_info(source)
    if info.bits is not None:
        raise ModelError(f"{source} is quantised to {info.bits} bits already.", "Quantise the original.")
    tensors = quantize_tensors(read_tensors(source), bits)
    write_folder(destination, tensors, info.model, Tokenizer.load(source), bits=bits)


def weight_bytes(folder: Path) -> int:
    """Bytes of a model folder's weights on disk."""
    return sum(file.stat().st_size for file in folder.glob("model-*.safetensors"))


def _check_bits(bits: object) -> None:
    if bits not in (None, 8, 4) or isinstance(bits, float):
        raise ConfigError(f"Weights cannot be quantised to {bits!r} bits.", "Use 8 or 4.")
