"""What a reader is: official files of a data set in, items out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from glm130b.errors import DataError
from glm130b.evaluation.items import Item
from glm130b.lines import read_json_file, read_json_line, read_lines

Reader = Callable[..., Iterator[Item]]
"""Called with the files, in the order of the task's patterns, each pattern's sorted by name; options by name."""

READERS: dict[str, Reader] = {}
"""All readers, by name."""

_R = TypeVar("_R", bound=Reader)


def reader(name: str) -> Callable[[_R], _R]:
    """Enter a function into ``READERS``; its first argument is ``files: Sequence[Path]``."""

    def enter(function: _R) -> _R:
        READERS[name] = function
        return function

    return enter


def malformed(file: Path, place: int | str, reason: str, expected: str) -> DataError:
    """The error for a file that is not what a reader expects.

    Args:
        place: number of the line or record, or a path inside a JSON file.
        expected: the format, in one clause: ``JSON lines with sentence1, sentence2 and label ("0" or "1")``.
    """
    where = f"line {place}" if isinstance(place, int) else place
    return DataError(f"{file}, {where}: {reason}.", f"Expected is {expected}.")


def field_of(record: Any, key: str, kind: type | tuple[type, ...], file: Path, place: int | str, expected: str) -> Any:
    """A field of a record, of the kind expected.

    Raises:
        DataError: the record is no object, lacks it, or holds something else there.
    """
    if not isinstance(record, dict) or key not in record:
        raise malformed(file, place, f"{key!r} is missing", expected)
    if not isinstance(record[key], kind) or (isinstance(record[key], bool) and kind is int):
        raise malformed(file, place, f"{key!r} is {type(record[key]).__name__}", expected)
    return record[key]


def json_lines(files: Sequence[Path]) -> Iterator[tuple[Path, int, dict[str, Any]]]:
    """File, number of the line and record of every line that is not blank.

    Raises:
        DataError: a line is no JSON object.
    """
    for file in files:
        for number, line in read_lines(file):
            if line.strip():
                yield file, number, read_json_line(file, number, line)


def json_list(file: Path, expected: str) -> Iterator[tuple[str, Any]]:
    """Place and record of every element of a JSON file that is a list.

    Raises:
        DataError: it is none.
    """
    records = read_json_file(file)
    if not isinstance(records, list):
        raise malformed(file, 1, f"this is a {type(records).__name__}", expected)
    for number, record in enumerate(records):
        yield f"[{number}]", record


def one_file(files: Sequence[Path], what: str) -> Path:
    """The only file of a set.

    Raises:
        DataError: there are several.
    """
    if len(files) != 1:
        raise DataError(f"{what} is one file; {len(files)} match: {', '.join(map(str, files))}.", "Keep one of them.")
    return files[0]
