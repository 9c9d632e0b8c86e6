"""Models on disk, opened for use: folders in the Hugging Face layout, and official checkpoints as they are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from glm130b.config import ModelConfig
from glm130b.errors import DataError, ModelError, ResourceError
from glm130b.files import whole_folder
from glm130b.interop.convert import convert
from glm130b.interop.new_scheme import GroupChoice, new_scheme
from glm130b.interop.opened import Opened, find_tokenizer, open_model
from glm130b.interop.sharding import Whole
from glm130b.model import (
    GLM,
    MAX_SHARD_BYTES,
    Bits,
    InMemory,
    Scheme,
    TensorSource,
    assign_tensors,
    checked_devices,
    write_tensors,
)
from glm130b.offload import assign_streamed, automatic_limit, read_in_large_pages
from glm130b.quantization import MatrixError, Quantized, matrix_error, use_quantized_linears
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
    group_size: GroupChoice | None = None,
    config: str | None = None,
    verify: bool = True,
    memory_limit: int | None = None,
) -> GLM:
    """Open a model for inference.

    Args:
        path: a model folder, a run, or an official checkpoint. A folder is memory-mapped; an official
            checkpoint is read into memory.
        dtype: of embeddings, norms, biases and unquantised weights; default as stored, but on a CPU FP32 for half
            precision, except for the embedding of a quantised model (see ``assign_tensors``).
        device: several names with commas between, or ``gpus``, spread the layers over them.
        bits, group_size: quantise the linear weights while loading (see ``new_scheme``); not needed for what is
            quantised.
        config: for official checkpoints, which do not say all; see ``config_for``.
        verify: compare the weights of a folder with their SHA-256, which reads all of them once.
        memory_limit: bytes to stay within, with weights read from the folder as they are needed; see
            ``assign_streamed``. Default all there is: a folder that is larger than that is streamed all the same.

    Raises:
        ModelError: missing, damaged, or a tensor that is missing, superfluous or of the wrong shape.
        ConfigError: the configuration of an official checkpoint is not known.
        ResourceError: no such device, or too little memory for a part of the model.
    """
    opened = open_model(path, config, verify=verify)
    return _build(opened, dtype, device, new_scheme(opened, bits, group_size), memory_limit)


def _build(
    opened: Opened,
    dtype: torch.dtype | None,
    device: torch.device | str,
    scheme: Scheme | None,
    memory_limit: int | None,
) -> GLM:
    devices = checked_devices(device)
    source: TensorSource = Whole(opened.ranks)
    if scheme is not None:
        source = Quantized(source, scheme)
    with torch.device("meta"):
        model = GLM(opened.config)
        if there := scheme or opened.scheme:
            use_quantized_linears(model, there)
    tensors = ((name, source.read(name)) for name in source.infos)
    if memory_limit is None and len(devices) == 1 and opened.layout == "folder" and scheme is None:
        memory_limit = automatic_limit(source.infos, dtype, devices[0])
    if memory_limit is None:
        if opened.layout == "folder" and devices[0].type == "cpu":
            read_in_large_pages(opened.files)
        assign_tensors(model, tensors, str(opened.path), dtype=dtype, devices=devices)
    elif len(devices) == 1:
        assign_streamed(model, tensors, str(opened.path), limit=memory_limit, dtype=dtype, device=devices[0])
    else:
        raise ResourceError("A limit to memory is for one device, and there are several.", "Name one, or no limit.")
    return model.eval().requires_grad_(False)


def load(
    path: str | Path,
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
    bits: Bits | None = None,
    *,
    group_size: GroupChoice | None = None,
    config: str | None = None,
    verify: bool = True,
    memory_limit: int | None = None,
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
    return _build(opened, dtype, device, new_scheme(opened, bits, group_size), memory_limit), tokenizer


def quantize_folder(source: str | Path, destination: Path, bits: Bits, **options: Any) -> dict[str, MatrixError]:
    """Write a quantised copy of a model as a model folder, tensor by tensor; options as of ``convert``.

    Returns:
        What each matrix lost, by name, in the order of the folder. What an interrupted call had finished is compared
        with the source anew.

    Raises:
        ModelError: the source is quantised already or cannot be.
        DataError: the destination exists.
    """
    opened = open_model(source)
    if opened.scheme is not None:
        raise ModelError(f"{opened.path} is quantised already: {opened.scheme}.", "Quantise the original.")
    errors: dict[str, MatrixError] = {}
    convert(source, destination, to="folder", bits=bits, on_error=errors.__setitem__, **options)
    written = open_model(destination, verify=False)
    assert written.scheme is not None
    origin, there = Quantized(Whole(opened.ranks), written.scheme), Whole(written.ranks)
    for name, its_bits in origin.matrices.items():
        if name not in errors:
            pair = there.read(name), there.read(f"{name}_scale")
            errors[name] = matrix_error(origin.origin(name), *pair, its_bits)
    return {name: errors[name] for name in origin.matrices}
