"""What lies in a folder of weights, and whether it is still what was written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from pathlib import Path

import torch

from glm130b.config import ModelConfig
from glm130b.errors import GLMError, ModelError
from glm130b.files import sha256_of_file
from glm130b.interop.opened import Opened, find_tokenizer, open_model, resolve
from glm130b.interop.sat import RankFile, is_sat, rank_files
from glm130b.interop.shape import UNKNOWN_HEADS
from glm130b.interop.sharding import Whole
from glm130b.model import DESCRIPTIONS, INDEX, FolderTensors, Index, damaged_tensors, read_index
from glm130b.planning import parameter_shapes

_TYPE_NAMES = {torch.float16: "FP16", torch.bfloat16: "BF16", torch.float32: "FP32", torch.int8: "INT8"}


@dataclass(frozen=True)
class FileCheck:
    """One file of weights."""

    path: Path
    size: int
    sha256: str | None
    """Recorded or, if the file was read, computed; None if neither."""
    fault: str | None = None
    """What is wrong with it."""


@dataclass(frozen=True)
class Description:
    """A model on disk, in words and numbers."""

    path: Path
    layout: str
    precision: str
    tokenizer: str
    config: ModelConfig
    num_heads: int | None
    """None if nothing says it."""
    num_parameters: int
    """Of the model, whatever their precision."""
    num_bytes: int
    """Of the files of weights."""
    largest: tuple[str, int]
    """The largest tensor and its bytes: conversion needs up to three times as much memory."""
    files: Sequence[FileCheck]


def describe(path: str | Path, config: str | None = None) -> Description:
    """Look at a model folder, a run or an official checkpoint without reading its weights.

    Raises:
        ModelError, ConfigError: as ``open_model``.
    """
    opened = open_model(path, config, to_inspect=True)
    infos = Whole(opened.ranks).infos
    files = _files(opened)
    largest = max(infos, key=lambda name: infos[name].nbytes)
    return Description(
        path=opened.path,
        layout=_layout(opened),
        precision=_precision(opened),
        tokenizer=_tokenizer(opened),
        config=opened.config,
        num_heads=None if opened.config.num_heads == UNKNOWN_HEADS else opened.config.num_heads,
        num_parameters=sum(prod(shape) for shape in parameter_shapes(opened.config).values()),
        num_bytes=sum(file.size for file in files),
        largest=(largest, infos[largest].nbytes),
        files=files,
    )


def verify(path: str | Path) -> Iterator[FileCheck]:
    """Read every file of weights, a checkpoint's optimizer state included, and compare it with what was recorded:
    SHA-256 in folders, CRC-32 in official files.

    Files are checked one by one, whatever is wrong with the others.

    Raises:
        ModelError: there is no model, or nothing says what its files should be.
    """
    path = resolve(path)
    if is_sat(path) and not (path / INDEX).is_file():
        for file in rank_files(path):
            yield _checked(file, lambda file, _: _official_fault(file))
        return
    for name, description in DESCRIPTIONS.items():
        if name != INDEX and not (path / name).is_file():
            continue
        index = read_index(path, name)
        yield _checked(path / description, partial(_description_fault, index=index))
        for shard in dict.fromkeys(index.files.values()):
            yield _checked(path / shard, partial(_shard_fault, index=index))


def _checked(file: Path, fault: Callable[[Path, str], str | None]) -> FileCheck:
    try:
        size = file.stat().st_size
        sha256 = sha256_of_file(file)
        return FileCheck(file, size, sha256, fault(file, sha256))
    except FileNotFoundError:
        return FileCheck(file, 0, None, "missing")
    except OSError as error:
        return FileCheck(file, 0, None, f"cannot be read ({error.strerror})")


def _description_fault(_: Path, sha256: str, index: Index) -> str | None:
    return None if index.description_sha256 in (None, sha256) else "changed since it was written"


def _official_fault(file: Path) -> str | None:
    try:
        damaged = list(RankFile(file).file.damage())
    except ModelError as error:
        return error.problem.removeprefix(f"{file} ")
    return f"damaged: {_some(damaged)}" if damaged else None


def _shard_fault(file: Path, sha256: str, index: Index) -> str | None:
    name = file.name
    if name not in index.sizes:
        return "no SHA-256 recorded: written by an earlier version"
    if (size := file.stat().st_size) != index.sizes[name]:
        return f"{size:,} bytes instead of {index.sizes[name]:,}"
    damaged = damaged_tensors(file.parent, name, index)
    if damaged or sha256 != index.sha256[name]:
        return f"damaged: {_some(damaged)}"
    return None


def _layout(opened: Opened) -> str:
    if opened.layout == "folder":
        return "model folder"
    ranks = "1 rank" if len(opened.ranks) == 1 else f"{len(opened.ranks)} tensor-parallel ranks"
    return f"official checkpoint, iteration {opened.iteration}, {ranks}"


def _precision(opened: Opened) -> str:
    infos = Whole(opened.ranks).infos
    if opened.scheme is not None:
        return f"{opened.scheme}, embedding and norms {_type_name(infos['word_embeddings.weight'].dtype)}"
    counts: Counter[torch.dtype] = Counter()
    for info in infos.values():
        counts[info.dtype] += prod(info.shape)
    return " and ".join(_type_name(dtype) for dtype, _ in counts.most_common())


def _type_name(dtype: torch.dtype) -> str:
    return _TYPE_NAMES.get(dtype, str(dtype))


def _tokenizer(opened: Opened) -> str:
    try:
        tokenizer = find_tokenizer(opened)
    except GLMError as error:
        return f"unusable: {error.problem}"
    if tokenizer is None:
        return "none"
    if opened.tokenizer not in (None, tokenizer.model_fingerprint):
        return f"{tokenizer.name}, NOT the one the model was trained with"
    return f"{tokenizer.name}, {tokenizer.vocab_size} ids"


def _files(opened: Opened) -> list[FileCheck]:
    first = opened.ranks[0]
    recorded = first.index.sha256 if isinstance(first, FolderTensors) else {}
    return [FileCheck(path, path.stat().st_size, recorded.get(path.name)) for path in opened.files]


def _some(names: list[str]) -> str:
    if not names:
        return "its header"
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
