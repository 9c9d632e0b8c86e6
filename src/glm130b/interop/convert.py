"""Conversion between official checkpoints and model folders, tensor by tensor."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from glm130b import __version__
from glm130b.config import ModelConfig
from glm130b.errors import ConfigError, ModelError
from glm130b.files import check_free_space, partial_path, refuse_existing, resumable_folder
from glm130b.interop.expected import check_tensors, expected_tensors
from glm130b.interop.sat import is_sat, open_sat, rank_source, write_ranks
from glm130b.interop.sharding import Whole
from glm130b.model import (
    INDEX,
    MAX_SHARD_BYTES,
    Bits,
    FolderTensors,
    TensorInfo,
    TensorSource,
    checkpoints,
    read_info,
    write_tensors,
)
from glm130b.quantization import Quantized
from glm130b.tokenization import Tokenizer

Layout = Literal["folder", "sat"]
_ICETK_FILE = "ice_text.model"
_EPSILON, _ROPE_BASE = 1e-5, 10000.0


@dataclass(frozen=True)
class Opened:
    """A model on disk, in either layout, of which no weights have been read yet."""

    path: Path
    layout: Layout
    ranks: Sequence[TensorSource]
    """What each tensor-parallel rank holds; a model folder is one rank."""
    config: ModelConfig
    bits: Bits | None
    scale_shards: int
    tokenizer: str | None
    """Fingerprint that the folder records."""
    files: Sequence[Path]
    iteration: str = "1"


def resolve(path: str | Path) -> Path:
    """The folder of weights meant by ``path``: itself, or the newest checkpoint of a run folder.

    Raises:
        ModelError: neither.
    """
    path = Path(path)
    try:
        if (path / "config.json").is_file() or is_sat(path):
            return path
        if found := checkpoints(path):
            return found[-1]
        there = path.exists()
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror}).", "Check its name.") from None
    if path.is_file():
        raise ModelError(f"{path} is a file.", "Give the folder it lies in.")
    if there:
        raise ModelError(
            f"{path} holds neither config.json nor checkpoints/step-* nor, as official checkpoints do, latest.",
            "Give a model folder, a run that has saved, or the folder with `latest` in it.",
        )
    if partial_path(path).exists():
        raise ModelError(
            f"{path} is not complete: a conversion or a save was interrupted.", "Run the same command again to go on."
        )
    raise ModelError(
        f"There is no model folder {path}.", "Check its name; `glm demo`, `glm train` and `glm convert` make one."
    )


def open_model(path: str | Path, config: str | None = None, *, verify: bool = True, to_inspect: bool = False) -> Opened:
    """Open a model folder, the newest checkpoint of a run, or an official checkpoint.

    Args:
        config, to_inspect: for official checkpoints, which do not say all; see ``config_for``.
        verify: compare the tensors of a model folder with their SHA-256 as they are read.

    Raises:
        ModelError: missing, incomplete or damaged, by name.
        ConfigError: the configuration of an official checkpoint is not known.
    """
    path = resolve(path)
    if is_sat(path) and not (path / INDEX).is_file():
        sat = open_sat(path, config, to_inspect=to_inspect)
        files = [rank.path for rank in sat.ranks]
        return Opened(
            path, "sat", sat.ranks, sat.config, sat.bits, sat.scale_shards, None, files, iteration=sat.iteration
        )
    if config is not None:
        raise ConfigError(f"{path} has a config.json of its own.", "Leave --config out.")
    info = read_info(path)
    source = FolderTensors(path, verify=verify)
    expected = expected_tensors(info.model, info.bits, scale_shards=info.scale_shards)
    check_tensors(source.infos, expected, path, "the model wants", "Make or copy it again.")
    files = [path / file for file in dict.fromkeys(source.index.files.values())]
    return Opened(path, "folder", [source], info.model, info.bits, info.scale_shards, info.tokenizer, files)


def find_tokenizer(opened: Opened, given: Path | None = None) -> Tokenizer | None:
    """The tokenizer given, else the one that lies with the model, else None.

    Raises:
        DataError: it cannot be read, or has more ids than the embedding has rows.
    """
    if given is None and not any((opened.path / name).is_file() for name in ("tokenizer.model", _ICETK_FILE)):
        return None
    tokenizer = Tokenizer.load(given or opened.path)
    tokenizer.check_fits(opened.config.vocab_size)
    return tokenizer


def convert(
    source: str | Path,
    destination: Path,
    *,
    to: Layout,
    tensor_parallel: int | None = None,
    bits: Bits | None = None,
    config: str | None = None,
    tokenizer: Path | None = None,
    rope_frequencies: Literal["fp32", "fp16"] | None = None,
    max_shard_bytes: int = MAX_SHARD_BYTES,
    on_start: Callable[[int, int], None] | None = None,
    on_bytes: Callable[[int], None] | None = None,
) -> list[str]:
    """Write a model in another layout, for another number of ranks, or quantised.

    One tensor is in memory at a time. What an interrupted call had finished is kept beside ``destination``
    and taken up by the next call with the same arguments; ``destination`` itself appears when it is whole.

    Args:
        tensor_parallel: ranks to write files for (``sat``; default as many as the source has), or to quantise
            as if for (``folder``; default 1).
        config: see ``open_model``.
        tokenizer: to put into a folder, instead of the one that lies with the source.
        rope_frequencies: precision of the rotary frequencies that a folder records; default as the source, and
            ``fp16`` for official checkpoints, whose code computes them so.
        on_start: is given the bytes to be written in all, and those an earlier call has written.
        on_bytes: is given the bytes of each tensor as it is written.

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
    if to == "folder" and tensor_parallel is not None and bits is None:
        raise ConfigError(
            "A model folder is not cut for tensor parallelism; a number of ranks only says how to quantise.",
            "Leave it out, or say how many bits.",
        )
    refuse_existing(destination)
    opened = open_model(source, config)
    bits = new_bits(opened, bits)
    if to == "folder" and tensor_parallel is not None and bits is None and tensor_parallel != opened.scale_shards:
        raise ConfigError(
            f"{opened.path} is quantised for {opened.scale_shards} ranks already.",
            "Leave the number of ranks out, or begin with unquantised weights.",
        )
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
        outputs = [rank_source(opened.ranks, model, rank, degree, bits) for rank in range(degree)]
    else:
        whole = Whole(opened.ranks)
        outputs = [whole if bits is None else Quantized(whole, bits, degree)]
    needed = sum(info.nbytes for output in outputs for info in output.infos.values())
    check_free_space(
        destination, needed - _bytes_in(partial_path(destination)), "its weights", "Free some space or choose another."
    )
    job = {
        "source": str(opened.path.resolve()),
        "files": {file.name: [file.stat().st_size, file.stat().st_mtime_ns] for file in opened.files},
        "to": [__version__, to, degree, bits, max_shard_bytes],
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
            bits=bits or opened.bits,
            scale_shards=opened.scale_shards if opened.bits else degree if bits else 1,
            max_shard_bytes=max_shard_bytes,
            progress=progress,
        )
    return [] if vocabulary else ["It has no tokenizer: put its own into it (of official weights, ice_text.model)."]


def _what_is_lost(opened: Opened) -> list[str]:
    """By writing a model in the official layout."""
    notes = []
    if opened.config.rope_frequencies == "fp32":
        notes.append("Its rotary frequencies are exact; the official code rounds them to FP16.")
    if any(info.dtype not in (torch.float16, torch.int8) for rank in opened.ranks for info in rank.infos.values()):
        notes.append("Its weights were rounded to FP16.")
    return notes


def new_bits(opened: Opened, bits: object) -> Bits | None:
    """The bits to quantise to, or None if the weights are in that precision already.

    Raises:
        ConfigError: neither 8 nor 4.
        ModelError: the weights are quantised to other bits.
    """
    if bits not in (None, 8, 4) or isinstance(bits, float):
        raise ConfigError(f"Weights cannot be quantised to {bits!r} bits.", "Use 8 or 4.")
    if opened.bits is None or bits is None:
        return bits
    if bits != opened.bits:
        raise ModelError(
            f"{opened.path} is quantised to {opened.bits} bits already.", f"Quantise the original to {bits} bits."
        )
    return None


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
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
