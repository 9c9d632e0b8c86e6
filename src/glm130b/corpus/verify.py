"""A built corpus on disk: its ledger as it is read again, and what of its files is not as it was written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from glm130b.corpus.documents import LEDGER
from glm130b.corpus.ledger import SCHEMA, Row, fingerprint
from glm130b.corpus.walk import walk_files
from glm130b.errors import DataError
from glm130b.files import read_json, sha256_of_file

CHECKSUMS = "SHA256SUMS"
"""Checksums of the ledger and of what is made of it, as ``sha256sum`` writes and checks them."""

_ABOUT = (LEDGER, "ledger.html", "sources.yaml")

_COUNTS = {"documents": int, "bytes": int, "tokens": int}
_STAGE = {"stage": str, "in": _COUNTS, "out": _COUNTS, "dropped": dict}
_FUNNEL = {"stages": [_STAGE], "train": _COUNTS, "heldout": _COUNTS}
_FILE = {"file": str, "bytes": int, "sha256": str}
_SHAPE = {
    "fingerprint": str,
    "recipe": dict,
    "inputs": dict,
    "total": _FUNNEL,
    "sources": [{"source": str, "language": str, **_FUNNEL}],
    "licenses": [{"source": str, "license": str, "documents": int, "tokens": int}],
    "contamination": {"action": str, "tasks": dict},
    "shards": [{**_FILE, "documents": int, "tokens": int}],
    "files": [_FILE],
}
"""What is read of a ledger: objects with some of their keys, lists of alike elements, and types."""


def read_ledger(folder: Path) -> Row:
    """The ledger of a corpus that ``build`` made.

    Raises:
        DataError: it is missing, damaged or of another kind.
    """
    ledger = read_json(folder / LEDGER, DataError)
    remedy = "Give a folder that `glm data build` wrote, or build it again."
    if not isinstance(ledger, dict) or ledger.get("schema") != SCHEMA:
        raise DataError(f"{folder / LEDGER} is not the ledger of a built corpus of this version.", remedy)
    if place := next(_misfits(ledger, _SHAPE, ""), None):
        raise DataError(f"{folder / LEDGER} is not a whole ledger: {place} is missing or of another kind.", remedy)
    return ledger


def write_checksums(folder: Path) -> None:
    """Write ``CHECKSUMS``, after everything it is about."""
    lines = [f"{sha256_of_file(folder / name)}  {name}\n" for name in _ABOUT]
    (folder / CHECKSUMS).write_text("".join(lines), encoding="utf-8")


def verify(folder: Path) -> list[str]:
    """Compare every file of a built corpus with what was written.

    Returns:
        A sentence for each file that is missing, damaged or was not there, of those that a training would read.

    Raises:
        DataError: there is no ledger, or the folder cannot be read.
    """
    ledger = read_ledger(folder)
    faults = [*_about_faults(folder)]
    faults += [fault for row in [*ledger["shards"], *ledger["files"]] if (fault := _fault(folder, row))]
    if fingerprint(ledger["shards"]) != ledger["fingerprint"]:
        faults.append(f"{LEDGER} does not agree with itself: its fingerprint is not that of its shards.")
    known = {folder / row["file"] for row in ledger["shards"]}
    unknown = [file for file in walk_files(folder) if file.suffix in (".bin", ".idx") and file not in known]
    return faults + [f"{file} is not in the ledger." for file in unknown]


def num_files(ledger: Row) -> int:
    """How many files ``verify`` compares."""
    return len(ledger["shards"]) + len(ledger["files"]) + len(_ABOUT)


def _about_faults(folder: Path) -> Iterator[str]:
    try:
        lines = (folder / CHECKSUMS).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        yield f"{folder / CHECKSUMS} is missing or cannot be read."
        return
    expected = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    for name in _ABOUT:
        if fault := _fault(folder, {"file": name, "sha256": expected.get(name)}):
            yield fault


def _fault(folder: Path, row: Row) -> str | None:
    path = folder / row["file"]
    try:
        size = path.stat().st_size
        if size != row.get("bytes", size):
            return f"{path} has {size} bytes, not {row['bytes']}."
        return None if sha256_of_file(path) == row["sha256"] else f"{path} has other contents than were written."
    except FileNotFoundError:
        return f"{path} is missing."
    except OSError as error:
        return f"{path} cannot be read: {error.strerror}."


def _misfits(value: Any, shape: Any, place: str) -> Iterator[str]:
    """Where a value is not of a shape."""
    if isinstance(shape, type):
        if not isinstance(value, shape):
            yield place
    elif not isinstance(value, type(shape)):
        yield place or "all of it"
    elif isinstance(shape, dict):
        for key, inner in shape.items():
            yield from _misfits(value.get(key), inner, f"{place}.{key}" if place else key)
    else:
        for number, element in enumerate(value):
            yield from _misfits(element, shape[0], f"{place}[{number}]")
