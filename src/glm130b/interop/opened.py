"""A model on disk in either layout, opened without reading its weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from glm130b.config import ModelConfig
from glm130b.errors import ConfigError, ModelError
from glm130b.files import partial_path
from glm130b.interop.expected import check_tensors, expected_tensors
from glm130b.interop.sat import RankFile, is_sat, open_sat
from glm130b.model import INDEX, FolderTensors, Scheme, TensorSource, checkpoints, read_info
from glm130b.tokenization import Tokenizer

Layout = Literal["folder", "sat"]
_ICETK_FILE = "ice_text.model"


@dataclass(frozen=True)
class Opened:
    """A model on disk, in either layout, of which no weights have been read yet."""

    path: Path
    layout: Layout
    ranks: Sequence[TensorSource]
    """What each tensor-parallel rank holds; a model folder is one rank."""
    config: ModelConfig
    scheme: Scheme | None
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
        return Opened(path, "sat", sat.ranks, sat.config, sat.scheme, None, files, iteration=sat.iteration)
    if config is not None:
        raise ConfigError(f"{path} has a config.json of its own.", "Leave --config out.")
    info = read_info(path)
    source = FolderTensors(path, verify=verify)
    expected = expected_tensors(info.model, info.scheme)
    check_tensors(source.infos, expected, path, "the model wants", "Make or copy it again.")
    files = [path / file for file in dict.fromkeys(source.index.files.values())]
    return Opened(path, "folder", [source], info.model, info.scheme, info.tokenizer, files)


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


def identities(opened: Opened) -> dict[str, list[object]]:
    """By file, what tells its contents from others: the checksums it came with, or else when it was written."""
    found: dict[str, list[object]] = {}
    for number, file in enumerate(opened.files):
        source = opened.ranks[number if opened.layout == "sat" else 0]
        facts = file.stat()
        if isinstance(source, RankFile):
            found[file.name] = [facts.st_size, source.file.digest]
        elif isinstance(source, FolderTensors):
            found[file.name] = [facts.st_size, source.index.sha256.get(file.name, facts.st_mtime_ns)]
    return found
