"""Conversion between official checkpoints and model folders, tensor by tensor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from glm130b import __version__
from glm130b.errors import ConfigError, ModelError
from glm130b.files import check_free_space, partial_path, refuse_existing, resumable_folder
from glm130b.interop.new_scheme import GroupChoice, new_scheme
from glm130b.interop.opened import Layout, Opened, find_tokenizer, identities, open_model
from glm130b.interop.sat import rank_source, write_ranks
from glm130b.interop.sharding import Whole
from glm130b.model import MAX_SHARD_BYTES, Bits, TensorInfo, TensorSource, write_tensors
from glm130b.quantization import MatrixError, Quantized

_EPSILON, _ROPE_BASE = 1e-5, 10000.0
_NO_PLACE = "an official checkpoint has no place for scales of groups of columns or a quantised output."


def convert(
    source: str | Path,
    destination: Path,
    *,
    to: Layout,
    tensor_parallel: int | None = None,
    bits: Bits | None = None,
    group_size: GroupChoice | None = None,
    output_bits: Bits | None = None,
    config: str | None = None,
    tokenizer: Path | None = None,
    rope_frequencies: Literal["fp32", "fp16"] | None = None,
    max_shard_bytes: int = MAX_SHARD_BYTES,
    on_start: Callable[[int, int], None] | None = None,
    on_bytes: Callable[[int], None] | None = None,
    on_error: Callable[[str, MatrixError], None] | None = None,
) -> list[str]:
    """Write a model in another layout, for another number of ranks, or quantised.

    One tensor is in memory at a time. What an interrupted call had finished is kept beside ``destination``
    and taken up by the next call with the same arguments; ``destination`` itself appears when it is whole.

    Args:
        tensor_parallel: ranks to write files for (``sat``; default as many as the source has), or to quantise
            as if for (``folder``; default 1).
        bits, group_size, output_bits: how to quantise; see ``new_scheme``.
        config: see ``open_model``.
        tokenizer: to put into a folder, instead of the one that lies with the source.
        rope_frequencies: precision of the rotary frequencies that a folder records; default as the source, and
            ``fp16`` for official checkpoints, whose code computes them so.
        on_start: is given the bytes to be written in all, and those an earlier call has written.
        on_bytes: is given the bytes of each tensor as it is written.
        on_error: is given what is lost by each matrix that this call quantises (``folder``).

    Returns:
        Sentences on what the result does not say or has only roughly.

    Raises:
        DataError: ``destination`` exists; or the tokenizer does not fit.
        ModelError: the source is damaged, or cannot be cut or quantised so.
        ConfigError: see ``open_model``; or options that have no effect.
        ResourceError: the disk is too small, or another process is writing ``destination``.
    """
    if to == "sat" and (tokenizer is not None or rope_frequencies is not None):
        raise ConfigError(
            "An official checkpoint has no place for a tokenizer or the precision of rotary frequencies.",
            "Leave them out.",
        )
    if to == "sat" and (group_size not in (None, "row") or output_bits is not None):
        raise ConfigError(f"{_NO_PLACE[0].upper()}{_NO_PLACE[1:]}", "Leave them out.")
    if to == "folder" and tensor_parallel is not None and bits is None:
        raise ConfigError(
            "A model folder is not cut for tensor parallelism; a number of ranks only says how to quantise.",
            "Leave it out, or say how many bits.",
        )
    refuse_existing(destination)
    opened = open_model(source, config)
    if to == "sat":
        _check_place(opened)
        scheme = new_scheme(opened, bits, None if bits is None else "row")
    else:
        scheme = new_scheme(opened, bits, group_size, output_bits, scale_shards=tensor_parallel)
    model = opened.config
    if to == "sat" and (model.layernorm_epsilon, model.rope_base) != (_EPSILON, _ROPE_BASE):
        raise ConfigError(
            f"{opened.path} has layernorm_epsilon {model.layernorm_epsilon:g} and rope_base {model.rope_base:g}; the "
            f"official code knows {_EPSILON:g} and {_ROPE_BASE:g} alone.",
            "Keep it as a model folder.",
        )
    if rope_frequencies is not None:
        model = model.model_copy(update={"rope_frequencies": rope_frequencies})
    degree = tensor_parallel or (len(opened.ranks) if to == "sat" else 1)
    vocabulary = find_tokenizer(opened, tokenizer) if to == "folder" else None
    outputs: list[TensorSource]
    if to == "sat":
        new_bits = None if scheme is None else scheme.bits
        outputs = [rank_source(opened.ranks, model, rank, degree, new_bits) for rank in range(degree)]
    else:
        whole = Whole(opened.ranks)
        outputs = [whole if scheme is None else Quantized(whole, scheme, on_error)]
    needed = sum(info.nbytes for output in outputs for info in output.infos.values())
    check_free_space(
        destination, needed - _bytes_in(partial_path(destination)), "its weights", "Free some space or choose another."
    )
    job = {
        "source": str(opened.path.resolve()),
        "files": identities(opened),
        "to": [__version__, to, degree, None if scheme is None else asdict(scheme), max_shard_bytes],
        "model": model.model_dump(mode="json"),
        "tokenizer": None if vocabulary is None else vocabulary.fingerprint,
    }
    counted = [output if on_bytes is None else _Counted(output, on_bytes) for output in outputs]
    with resumable_folder(destination, job) as progress:
        if on_start is not None:
            on_start(needed, progress.num_bytes)
        if to == "sat":
            write_ranks(progress.folder, counted, opened.iteration, progress)
            return _what_is_lost(opened)
        if vocabulary is not None:
            vocabulary.save(progress.folder)
        write_tensors(
            progress.folder,
            counted[0],
            model,
            tokenizer=opened.tokenizer if vocabulary is None else vocabulary.model_fingerprint,
            scheme=scheme or opened.scheme,
            max_shard_bytes=max_shard_bytes,
            progress=progress,
        )
    return [] if vocabulary else ["It has no tokenizer: put its own into it (of official weights, ice_text.model)."]


def _check_place(opened: Opened) -> None:
    scheme = opened.scheme
    if scheme is not None and (scheme.group_size is not None or scheme.output_bits is not None):
        raise ModelError(f"{opened.path} is {scheme}, and {_NO_PLACE}", "Begin with the unquantised weights.")


def _what_is_lost(opened: Opened) -> list[str]:
    """By writing a model in the official layout."""
    notes = []
    if opened.config.rope_frequencies == "fp32":
        notes.append("Its rotary frequencies are exact; the official code rounds them to FP16.")
    if any(info.dtype not in (torch.float16, torch.int8) for rank in opened.ranks for info in rank.infos.values()):
        notes.append("Its weights were rounded to FP16.")
    if opened.config.conventions == "own":
        notes.append(f"It does not say how a model trained here is asked: convert it back with --config {opened.path}.")
    return notes


class _Counted:
    """A source that tells how much is read from it."""

    def __init__(self, source: TensorSource, on_bytes: Callable[[int], None]) -> None:
        self._source, self._on_bytes = source, on_bytes
        self.infos: Mapping[str, TensorInfo] = source.infos

    def read(self, name: str) -> Tensor:
        tensor = self._source.read(name)
        self._on_bytes(tensor.nbytes)
        return tensor


def _bytes_in(folder: Path) -> int:
    total = 0
    for file in folder.rglob("*"):
        with suppress(FileNotFoundError):  # another process may be writing there
            total += file.stat().st_size
    return total
