"""All that a corpus depends on: recipe, inputs, test sets, program and versions, and how two such lists differ."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from glm130b import __version__
from glm130b.config import BuildConfig
from glm130b.corpus.evaluation_items import evaluation_files
from glm130b.corpus.parts import Part
from glm130b.errors import DataError
from glm130b.tokenization import Tokenizer

Facts = dict[str, Any]
"""JSON."""

_PACKAGE = Path(__file__).resolve().parent.parent
_LIBRARIES = ("numpy", "sentencepiece", "datasketch", "OpenCC", "py3langid", "pyarrow", "zstandard")


def facts_of(recipe: BuildConfig, parts: Sequence[Part], tokenizer: Tokenizer) -> Facts:
    """What a build depends on.

    Raises:
        DataError: an input or a test set is missing.
    """
    inputs = sorted({str(piece.path) for part in parts for piece in part.slices})
    against = evaluation_files(recipe.contamination.against, recipe.contamination.exclude)[0]
    facts = {
        "versions": versions(),
        "program": program(),
        "recipe": recipe.model_dump(mode="json"),
        "tokenizer": tokenizer.fingerprint,
        "tokenizer_path": recipe.tokenizer if recipe.tokenizer == "bundled" else str(Path(recipe.tokenizer).absolute()),
        "inputs": {path: _identity(path) for path in inputs},
        "evaluation": {str(file): _identity(str(file)) for _, file, _ in against},
        "parts": [asdict(part) for part in parts],
    }
    plain: Facts = json.loads(json.dumps(facts, default=str))
    return plain


@cache
def versions() -> dict[str, str]:
    """Of this package, Python, Unicode and the libraries that a corpus depends on."""
    from importlib.metadata import PackageNotFoundError, version

    python = ".".join(platform.python_version_tuple()[:2])
    found = {"glm130b": __version__, "Python": python, "Unicode": unicodedata.unidata_version}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


@cache
def program() -> str:
    """Of the code that a corpus depends on, which may change without its version when it is run from a checkout."""
    digest = hashlib.sha256()
    files = [file for room in ("corpus", "tokenization") for file in sorted((_PACKAGE / room).glob("*.py"))]
    for file in [*files, _PACKAGE / "config" / "build.py"]:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def check_program(facts: Facts) -> None:
    """Refuse to work on a build that was begun by another program or with other versions.

    Raises:
        DataError: which they are.
    """
    if difference := _program_difference(facts, {"versions": versions(), "program": program()}):
        raise DataError(
            f"Machine {platform.node()} cannot work on this build: {difference}.",
            "Install on every machine what the build was begun with.",
        )


def check_unchanged(known: dict[str, list[int]], paths: Iterable[str]) -> None:
    """Refuse files that are not as they were when the build looked at them first.

    Args:
        known: size and time of change by path.

    Raises:
        DataError: the first that is not.
    """
    for path in paths:
        if _identity(path) != known.get(path):
            raise DataError(
                f"{path} has changed while the corpus was being built.",
                "Leave the inputs as they are until the build ends, and run the same command again.",
            )


def difference_of(before: Facts, now: Facts, read: Iterable[Part]) -> str | None:
    """What of a build is not as it was, in words.

    Args:
        read: the parts that are finished, whose inputs may not have changed; those of other parts may.
    """
    if difference := _program_difference(before, now):
        return difference
    if before["recipe"] != now["recipe"]:
        return f"the recipe has another {next(_changed_keys(before['recipe'], now['recipe']))}"
    if before["tokenizer"] != now["tokenizer"]:
        return "the tokenizer has changed"
    if before["evaluation"] != now["evaluation"]:
        return f"{_changed(before['evaluation'], now['evaluation'])} has changed"
    if [_cut(part) for part in before["parts"]] != [_cut(part) for part in now["parts"]]:
        return f"{_changed(before['inputs'], now['inputs'])} has changed"
    for part in read:
        for piece in part.slices:
            if before["inputs"].get(str(piece.path)) != now["inputs"].get(str(piece.path)):
                return f"{piece.path} has changed since it was read"
    return None


def _program_difference(before: Facts, now: Facts) -> str | None:
    if before["versions"] != now["versions"]:
        changed = dict(before["versions"].items() ^ now["versions"].items())
        return f"the version of {', '.join(sorted(changed))} has changed"
    return "the program itself has changed" if before["program"] != now["program"] else None


def _identity(path: str) -> list[int]:
    try:
        found = os.stat(path)  # noqa: PTH116
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.", "Check the file, or copy it again.") from None
    return [found.st_size, found.st_mtime_ns]


def _cut(part: dict[str, Any]) -> tuple[Any, Any]:
    """What a part is made of; its size in bytes does not matter."""
    return part["source"], part["slices"]


def _changed(before: dict[str, Any], now: dict[str, Any]) -> str:
    names = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
    return names[0] if names else ""


def _changed_keys(before: Any, now: Any, prefix: str = "") -> Iterator[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        for key in [*before, *(key for key in now if key not in before)]:
            if before.get(key) != now.get(key):
                yield from _changed_keys(before.get(key), now.get(key), f"{prefix}.{key}" if prefix else key)
    else:
        yield prefix
