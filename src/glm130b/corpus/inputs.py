"""Files and folders on a command line as named sources."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from glm130b.corpus.documents import SUFFIXES, folder_files, source_files
from glm130b.errors import DataError


def sources_of(inputs: Sequence[Path]) -> tuple[dict[str, list[Path]], list[Path]]:
    """Name what was given: a file is a source named by its file name up to the first dot.

    Of a folder, each file is a source and so is each folder in it; its ``.txt`` files together are one that is
    named like the folder. Files of the same name make one source, so ``news.en.jsonl`` and ``news.zh.jsonl``
    are ``news``.

    Returns:
        Files and folders by source; what in given folders is not read: files of another kind, folders that hold
        nothing else, built corpora.

    Raises:
        DataError: a path is missing, cannot be read, or gives no name.
    """
    sources: dict[str, list[Path]] = {}
    left_out: list[Path] = []
    for given in inputs:
        if not given.is_dir():
            source_files(str(given))
            sources.setdefault(_name(given), []).append(given)
            continue
        files, others = folder_files(given)
        inside = _entries(given, files)
        for path in inside:
            is_text = path.suffix == ".txt" and path.is_file()
            sources.setdefault(_name(given.absolute() if is_text else path), []).append(path)
        left_out += [path for path in _entries(given, others) if path not in inside]
        left_out += [path for path in others if given / path.relative_to(given).parts[0] in inside]
    if not sources:
        names = ", ".join(str(path) for path in inputs)
        raise DataError(f"There is no file that can be read in {names}.", f"Readable are {', '.join(SUFFIXES)}.")
    return sources, left_out


def _entries(folder: Path, found: Sequence[Path]) -> list[Path]:
    """What lies in a folder itself and is or holds one of what was found below it."""
    return [folder / name for name, _ in groupby(path.relative_to(folder).parts[0] for path in found)]


def _name(path: Path) -> str:
    name = re.sub(r"[^\w-]+", "_", path.name.split(".")[0]).lstrip("-")
    if not name:
        raise DataError(f"{path} begins with a dot and gives no name for a source.", "Rename it, or write a recipe.")
    return name
