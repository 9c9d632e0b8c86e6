"""Official GLM-130B checkpoints: the layout of SwissArmyTransformer, one file a tensor-parallel rank.

``<path>/latest`` names the iteration, ``<path>/<iteration>/mp_rank_NN_model_states.pt`` are the ranks. Tensors
are given this project's names, which are theirs without ``transformer.``. Rotary frequencies are in the files
but never read, as in the authors' own loader: they follow from the configuration.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from glm130b.config import ModelConfig
from glm130b.errors import ModelError
from glm130b.files import Progress
from glm130b.interop.expected import check_tensors, expected_tensors
from glm130b.interop.shape import config_for, sizes_of
from glm130b.interop.sharding import Rank, Whole, cut_of
from glm130b.interop.torch_file import TorchFile, write_torch_file
from glm130b.model import Bits, Scheme, TensorInfo, TensorSource, inverse_frequencies
from glm130b.quantization import Quantized, is_quantizable

_PREFIX = "transformer."
_FILE = re.compile(r"mp_rank_(\d\d+)_model_states\.pt")
_CHECK = "All files have to come from one conversion, copied completely, and --config has to be the model's own."


class RankFile:
    """The tensors of one rank under this project's names, as a source."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = TorchFile(path)
        self.infos: Mapping[str, TensorInfo] = {
            name.removeprefix(_PREFIX): info for name, info in self.file.infos.items() if not name.endswith("inv_freq")
        }
        self._names: dict[str, str] = {}
        for name in self.file.infos:
            if self._names.setdefault(name.removeprefix(_PREFIX), name) != name:
                raise ModelError(
                    f"{path} holds two tensors called {name.removeprefix(_PREFIX)}.", "Remove one of them."
                )

    def read(self, name: str) -> Tensor:
        """One tensor."""
        return self.file.read(self._names[name])

    def checksum(self, name: str) -> int:
        """The CRC-32 that the file records for a tensor."""
        return self.file.checksum(self._names[name])


@dataclass(frozen=True)
class SatCheckpoint:
    """An official checkpoint whose every tensor is known to be there and of the right shape."""

    path: Path
    iteration: str
    ranks: Sequence[RankFile]
    config: ModelConfig
    scheme: Scheme | None
    """Of the ranks put together."""

    @property
    def degree(self) -> int:
        """Number of tensor-parallel ranks."""
        return len(self.ranks)


def is_sat(path: Path) -> bool:
    """Whether the folder looks like an official checkpoint."""
    return (path / "latest").is_file()


def open_sat(path: Path, config: str | None = None, *, to_inspect: bool = False) -> SatCheckpoint:
    """Open the checkpoint that ``<path>/latest`` names; reads no weights yet.

    Args:
        config, to_inspect: what the files do not say; see ``config_for``.

    Raises:
        ModelError: a file is missing or not of tensors; a tensor is missing, superfluous, of the wrong
            shape or type, or the ranks are of different checkpoints; by name.
        ConfigError: the configuration is not known or not this checkpoint's.
    """
    iteration = _read_latest(path)
    ranks = [RankFile(file) for file in rank_files(path)]
    _check_count(path / iteration, ranks)
    found = config_for(sizes_of(Whole(ranks).infos, str(path)), config, str(path), to_inspect=to_inspect)
    bits = _check_ranks(ranks, found)
    if found.num_heads % len(ranks):
        raise ModelError(f"{path} has {len(ranks)} ranks, but {found.num_heads} heads.", "Give its own --config.")
    scheme = None if bits is None else Scheme(bits, scale_shards=len(ranks))
    return SatCheckpoint(path, iteration, ranks, found, scheme)


def read_sat(path: Path, config: str | None = None) -> dict[str, Tensor]:
    """All tensors of a checkpoint, ranks put together, under this project's names.

    Raises:
        ModelError, ConfigError: as ``open_sat``.
    """
    whole = Whole(open_sat(path, config).ranks)
    return {name: whole.read(name) for name in whole.infos}


def _read_latest(path: Path) -> str:
    latest = path / "latest"
    try:
        iteration = latest.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        raise ModelError(f"{latest} is missing or unreadable.", "Give the folder that holds `latest`.") from None
    if not iteration or "/" in iteration or iteration in (".", ".."):
        raise ModelError(f"{latest} holds {iteration!r}, not the name of a folder beside it.", "Copy it again.")
    return iteration


def rank_files(path: Path) -> list[Path]:
    """The files of a checkpoint, in the order of the ranks.

    Raises:
        ModelError: there are none, or one before the last is missing.
    """
    folder = path / _read_latest(path)
    try:
        files = sorted(folder.iterdir()) if folder.is_dir() else []
    except OSError as error:
        raise ModelError(f"{folder} cannot be read ({error.strerror}).", "Check `latest` beside it.") from None
    numbers = {file: int(match[1]) for file in files if (match := _FILE.fullmatch(file.name))}
    found = {rank: file for file, rank in numbers.items() if file.name == f"mp_rank_{rank:02d}_model_states.pt"}
    if not found:
        raise ModelError(f"{folder} holds 0 rank files (mp_rank_00_model_states.pt).", "Check `latest` beside it.")
    if missing := set(range(max(found) + 1)) - found.keys():
        raise ModelError(
            f"{folder} lacks mp_rank_{min(missing):02d}_model_states.pt; there are ranks up to {max(found)}.",
            "Copy it again.",
        )
    return [found[rank] for rank in range(len(found))]


def _check_count(folder: Path, ranks: Sequence[RankFile]) -> None:
    """Refuse more or fewer files than the first one was made for: it holds 3 H / T query, key and value rows."""
    infos = ranks[0].infos
    try:
        (hidden_size,) = infos["layers.0.input_layernorm.weight"].shape
        (rows,) = infos["layers.0.attention.query_key_value.bias"].shape
        degree, rest = divmod(3 * hidden_size, rows)
    except (KeyError, ValueError, ZeroDivisionError):
        return  # which the check of every tensor names
    if not rest and degree != len(ranks):
        missing = f"; mp_rank_{len(ranks):02d}_model_states.pt is missing" if degree > len(ranks) else ""
        raise ModelError(f"{folder} holds {len(ranks)} rank files, but they are of {degree} ranks{missing}.", _CHECK)


def _check_ranks(ranks: Sequence[RankFile], config: ModelConfig) -> Bits | None:
    """Whether all ranks hold what they should, and are of one checkpoint."""
    bits = _bits(ranks[0], expected_tensors(config, None, degree=len(ranks)))
    expected = expected_tensors(config, None if bits is None else Scheme(bits), degree=len(ranks))
    for rank in ranks:
        check_tensors(rank.infos, expected, rank.path, f"rank files of {len(ranks)} ranks of this model have", _CHECK)
        for name, info in rank.infos.items():
            if info.dtype != ranks[0].infos[name].dtype:
                raise ModelError(f"{rank.path}: {name} is of type {info.dtype}, rank 0's is not.", _CHECK)
            if cut_of(name) == "none" and not _about_equal(name, rank, ranks[0]):
                raise ModelError(f"{rank.path}: {name} is not as in rank 0, though every rank has all of it.", _CHECK)
    return bits


def _about_equal(name: str, rank: RankFile, other: RankFile) -> bool:
    if rank.checksum(name) == other.checksum(name):
        return True
    ours, theirs = rank.read(name).float(), other.read(name).float()
    return bool((ours - theirs).abs().max() <= 0.01 * theirs.abs().max() + 1e-4)


def _bits(rank: RankFile, expected: Mapping[str, TensorInfo]) -> Bits | None:
    """Of the quantised weights, from the columns of the first one; None if there are none."""
    for name, there in rank.infos.items():
        if is_quantizable(name) and f"{name}_scale" in rank.infos and name in expected:
            rows, columns = expected[name].shape
            if there.shape == (rows, columns):
                return 8
            if there.shape == (rows, columns // 2):
                return 4
            raise ModelError(
                f"{rank.path}: {name} is {list(there.shape)}, which is neither the INT8 nor the INT4 of "
                f"{[rows, columns]}.",
                _CHECK,
            )
    return None


class _AsRankFile:
    """A rank's tensors in the order, names and types of an official file, rotary frequencies included."""

    def __init__(self, source: TensorSource, config: ModelConfig) -> None:
        self._source = source
        self._frequencies = inverse_frequencies(config.head_size, config.rope_base, "fp16").half()
        self._names: dict[str, str] = {}
        self.infos: dict[str, TensorInfo] = {}
        for name, info in source.infos.items():
            dtype = torch.int8 if info.dtype == torch.int8 else torch.float16
            self.infos[f"{_PREFIX}{name}"] = TensorInfo(info.shape, dtype)
            self._names[f"{_PREFIX}{name}"] = name
            if name.endswith("attention.dense.bias"):
                frequencies = name.replace("dense.bias", "rotary_emb.inv_freq")
                self.infos[f"{_PREFIX}{frequencies}"] = TensorInfo.of(self._frequencies)

    def read(self, name: str) -> Tensor:
        if name.endswith("inv_freq"):
            return self._frequencies
        tensor = self._source.read(self._names[name])
        if tensor.dtype in (torch.int8, torch.float16):
            return tensor
        half = tensor.half()
        if not torch.isfinite(half).all():
            raise ModelError(f"{name} does not fit FP16, which official checkpoints are in.", "Use other weights.")
        return half


def write_ranks(folder: Path, ranks: Sequence[TensorSource], iteration: str, progress: Progress) -> None:
    """Write an official checkpoint, one file each of ``ranks`` (see ``rank_source``); ``latest`` is last.

    Args:
        progress: remembers finished ranks, which are not written again.
    """
    (folder / iteration).mkdir(exist_ok=True)
    for number, rank in enumerate(ranks):
        part = f"{iteration}/mp_rank_{number:02d}_model_states.pt"
        if progress.finished(part) is None:
            write_torch_file(folder / part, rank)
            progress.finish(part, True)
    (folder / "latest").write_text(iteration, encoding="ascii")  # no newline: the official converter strips none


def rank_source(
    ranks: Sequence[TensorSource], config: ModelConfig, rank: int, degree: int, bits: Bits | None
) -> TensorSource:
    """What the file of ``rank`` of ``degree`` holds of a model that now lies on ``ranks``.

    Args:
        bits: quantise the rank's part by itself, as the official converter does.

    Raises:
        ModelError: the model cannot be cut or quantised so, by name.
    """
    if config.num_heads % degree:
        raise ModelError(f"{config.num_heads} heads do not divide among {degree} ranks.", "Choose another --tp.")
    part: TensorSource = Rank(ranks, rank, degree)
    return _AsRankFile(part if bits is None else Quantized(part, Scheme(bits)), config)
