"""Files and folders on a command line as named sources."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from glm130b.corpus.documents import SUFFIXES, source_files
from glm130b.errors import DataError


def sources_of(inputs: Sequence[Path]) -> tuple[dict[str, list[Path]], list[Path]]:
    """Name what was given: a file is a source named by its file name up to the first dot.

    Of a folder, each file is a source and so is each folder in it; its ``.txt`` files together are one that is
    named like the folder. Files of the same name make one source, so ``news.en.jsonl`` and ``news.zh.jsonl``
    are ``news``.

    Returns:
        Files and folders by source; files in given folders that are of a kind that is not read.

    Raises:
        DataError: a path is missing, or gives no name.
    """
    sources: dict[str, list[Path]] = {}
    left_out: list[Path] = []
    for given in inputs:
        if not given.is_dir():
            source_files(str(given))
            sources.setdefault(_name(given), []).append(given)
            continue
        for path in sorted(given.iterdir()):
            if path.is_dir():
                if source_files(path):
                    sources.setdefault(_name(path), []).append(path)
            elif path.suffix == ".txt":
                sources.setdefault(_name(given.absolute()), []).append(path)
            elif path.name.endswith(SUFFIXES):
                sources.setdefault(_name(path), []).append(path)
            else:
                left_out.append(path)
    if not sources:
        names = ", ".join(str(path) for path in inputs)
        raise DataError(f"There is no file that can be read in {names}.", f"Readable are {', '.join(SUFFIXES)}.")
    return sources, left_out


def _name(path: Path) -> str:
    name = re.sub(r"[^\w-]+", "_", path.name.split(".")[0]).lstrip("-")
    if not name:
        raise DataError(f"{path} begins with a dot and gives no name for a source.", "Rename it, or write a recipe.")
    return name
