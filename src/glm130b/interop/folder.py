"""Models on disk, opened for use: folders in the Hugging Face layout, and official checkpoints as they are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from glm130b.config import ModelConfig
from glm130b.errors import DataError, ModelError
from glm130b.files import whole_folder
from glm130b.interop.convert import convert
from glm130b.interop.opened import Opened, find_tokenizer, new_bits, open_model
from glm130b.interop.sharding import Whole
from glm130b.model import (
    GLM,
    MAX_SHARD_BYTES,
    Bits,
    InMemory,
    TensorSource,
    assign_tensors,
    checked_devices,
    write_tensors,
)
from glm130b.quantization import Quantized, use_quantized_linears
from glm130b.tokenization import Tokenizer


def write_folder(
    path: Path,
    tensors: Mapping[str, Tensor],
    config: ModelConfig,
    tokenizer: Tokenizer,
    *,
    max_shard_bytes: int = MAX_SHARD_BYTES,
) -> None:
    """Write a model folder that appears under its name only when it is whole."""
    with whole_folder(path) as folder:
        tokenizer.save(folder)
        write_tensors(
            folder, InMemory(tensors), config, tokenizer=tokenizer.model_fingerprint, max_shard_bytes=max_shard_bytes
        )


def load_model(
    path: str | Path,
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
    bits: Bits | None = None,
    config: str | None = None,
    verify: bool = True,
) -> GLM:
    """Open a model for inference.

    Args:
        path: a model folder, a run, or an official checkpoint. A folder is memory-mapped; an official
            checkpoint is read into memory.
        dtype: of embeddings, norms, biases and unquantised weights; default as stored, but FP32 for half
            precision on a CPU.
        device: several names with commas between, or ``gpus``, spread the layers over them.
        bits: quantise the linear weights while loading; not needed for what is quantised.
        config: for official checkpoints, which do not say all; see ``config_for``.
        verify: compare the weights of a folder with their SHA-256, which reads all of them once.

    Raises:
        ModelError: missing, damaged, or a tensor that is missing, superfluous or of the wrong shape.
        ConfigError: the configuration of an official checkpoint is not known.
        ResourceError: no such device.
    """
    return _build(open_model(path, config, verify=verify), dtype, device, bits)


def _build(opened: Opened, dtype: torch.dtype | None, device: torch.device | str, bits: Bits | None) -> GLM:
    devices = checked_devices(device)
    bits = new_bits(opened, bits)
    source: TensorSource = Whole(opened.ranks)
    if bits is not None:
        source = Quantized(source, bits)
    with torch.device("meta"):
        model = GLM(opened.config)
        if quantized := bits or opened.bits:
            use_quantized_linears(model, quantized, opened.scale_shards)
    tensors = ((name, source.read(name)) for name in source.infos)
    assign_tensors(model, tensors, str(opened.path), dtype=dtype, devices=devices)
    return model.eval().requires_grad_(False)


def load(
    path: str | Path,
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
    bits: Bits | None = None,
    *,
    config: str | None = None,
    verify: bool = True,
) -> tuple[GLM, Tokenizer]:
    """Open a model and its tokenizer: ``model, tokenizer = glm130b.load("runs/demo")``; see ``load_model``.

    Raises:
        DataError: the tokenizer is missing or not the one the model was trained with.
    """
    opened = open_model(path, config, verify=verify)
    tokenizer = find_tokenizer(opened)
    if tokenizer is None:
        raise DataError(
            f"{opened.path} holds no tokenizer.",
            "Put its own there (for official weights that is ice_text.model), or convert it with --tokenizer.",
        )
    if opened.tokenizer not in (None, tokenizer.model_fingerprint):
        raise DataError(
            f"{opened.path} holds another tokenizer than its model was trained with.", "Copy the folder again."
        )
    return _build(opened, dtype, device, bits), tokenizer


def quantize_folder(source: str | Path, destination: Path, bits: Bits, **options: Any) -> None:
    """Write a quantised copy of a model as a model folder, tensor by tensor; options as of ``convert``.

    Raises:
        ModelError: the source is quantised already or cannot be.
        DataError: the destination exists.
    """
    opened = open_model(source)
    new_bits(opened, bits)
    if opened.bits is not None:
        raise ModelError(f"{opened.path} is quantised to {opened.bits} bits already.", "Quantise the original.")
    convert(source, destination, to="folder", bits=bits, **options)
