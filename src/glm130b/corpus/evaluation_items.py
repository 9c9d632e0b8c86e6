"""Evaluation sets of any layout as items of text: what must not be trained on.

No task is known by name. Every string in a file counts, under the smallest record around it: a line, a row,
or the innermost object that is an element of a list.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from glm130b.corpus.walk import walk_files
from glm130b.errors import DataError

_LINES = {".txt", ".tokens", ".src", ".tgt", ".en", ".zh", ".lst", ".raw"}
_READABLE = {".json", ".jsonl", ".csv", ".tsv", ".xml", ".parquet", *_LINES}
_PACKED = {".gz", ".zst"}
_NOT_DATA = {"README", "LICENSE", "LICENCE", "LICENSES", "LICENCES", "MANIFEST", "CITATION"}


@dataclass(frozen=True)
class Item:
    """One record of an evaluation set.

    Attributes:
        task: the first folder below the path that was given, or the name of that path.
        name: file and place of the record in it, ``dev.json#data[0].paragraphs[2]`` or ``test.csv#17``.
        texts: its strings.
    """

    task: str
    name: str
    texts: tuple[str, ...]


def evaluation_files(
    paths: Sequence[str | Path], exclude: Sequence[str] = ()
) -> tuple[list[tuple[str, Path, str]], list[Path]]:
    """Files to read as (task, file, name), and files left out: of another kind, or about the sets (README …).

    Args:
        paths: files, or folders that hold a folder for each task.
        exclude: names of files or folders to leave out, wherever they stand.

    Raises:
        DataError: a path is missing, or holds nothing that can be read.
    """
    found: list[tuple[str, Path, str]] = []
    skipped: list[Path] = []
    for given in map(Path, paths):
        if not given.exists():
            raise DataError(f"There is no evaluation set {given}.", "Check the path.")
        files = [given] if given.is_file() else walk_files(given)
        base = given.parent if given.is_file() else given
        before = len(found)
        for file in files:
            inside = file.relative_to(base)
            if set(inside.parts) & set(exclude):
                continue
            if _kind(file) not in _READABLE or _is_about(inside):
                skipped.append(file)
            else:
                task = inside.parts[0] if len(inside.parts) > 1 else given.name.split(".")[0]
                found.append((task, file, str(inside)))
        if len(found) == before:
            raise DataError(
                f"{given} holds no evaluation file that can be read.", f"Readable are {', '.join(sorted(_READABLE))}."
            )
    return found, skipped


def read_items(task: str, file: Path, name: str) -> Iterator[Item]:
    """The items of one file.

    Raises:
        DataError: it cannot be read or is not what its name says.
    """
    try:
        for place, texts in _records(file):
            if any(text.strip() for text in texts):
                yield Item(task, f"{name}#{place}", tuple(texts))
    except (OSError, EOFError, ValueError, RecursionError, ElementTree.ParseError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(
            f"The evaluation file {file} cannot be read: {reason}.", "Fetch it again, or exclude it."
        ) from None


def _is_about(inside: Path) -> bool:
    """Whether a file says something about a set rather than being of it: by its name, or a folder's of licences."""
    return inside.name.split(".")[0].upper() in _NOT_DATA or any(
        part.upper() in _NOT_DATA for part in inside.parts[:-1]
    )


def _kind(file: Path) -> str:
    suffixes = [suffix.lower() for suffix in file.suffixes]
    return next((suffix for suffix in reversed(suffixes) if suffix not in _PACKED), ".txt" if not suffixes else "")


def _records(file: Path) -> Iterator[tuple[str, list[str]]]:
    kind = _kind(file)
    if kind == ".parquet":
        yield from _parquet(file)
        return
    content = _unpacked(file)
    if kind == ".xml":
        yield from _elements(ElementTree.fromstring(_declared(content)), "")
        return
    text = content.decode("utf-8-sig", "replace")
    if kind == ".json":
        try:
            yield from _walk(json.loads(text))
            return
        except json.JSONDecodeError as error:
            if "Extra data" not in error.msg:
                raise
        kind = ".jsonl"  # one object a line under the name of JSON, as CLUE has it
    if kind == ".jsonl":
        for number, line in enumerate(text.split("\n")):
            if line.strip():
                yield str(number), _strings(json.loads(line))
    elif kind == ".csv":
        delimiter = ";" if text.partition("\n")[0].count(";") > text.partition("\n")[0].count(",") else ","
        csv.field_size_limit(2**31 - 1)
        for number, row in enumerate(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)):
            yield str(number), row
    else:
        for number, line in enumerate(text.split("\n")):
            yield str(number), line.split("\t")


def _declared(content: bytes) -> bytes | str:
    """XML as its declaration says it is written, or else by force as UTF-8."""
    try:
        ElementTree.fromstring(content)
    except ElementTree.ParseError:
        return content.decode("utf-8", "replace")
    return content


def _unpacked(file: Path) -> bytes:
    data = file.read_bytes()
    if file.suffix == ".gz":
        return gzip.decompress(data)
    if file.suffix == ".zst":
        import zstandard

        try:
            with zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True) as reader:
                return reader.read()
        except zstandard.ZstdError as error:
            raise ValueError(str(error)) from None
    return data


def _walk(value: Any) -> Iterator[tuple[str, list[str]]]:
    """Strings of a JSON value by the innermost object or top-level element around them, in order of appearance."""
    found: dict[str, list[str]] = {}

    def visit(value: Any, path: str, owner: str) -> None:
        if isinstance(value, str):
            found.setdefault(owner, []).append(value)
        elif isinstance(value, dict):
            for key, below in value.items():
                inner = f"{path}.{key}" if path else str(key)
                # An object of objects is a list whose elements have names, as PubMedQA's.
                is_record = isinstance(below, dict) and not owner
                visit(below, inner, inner if is_record else owner)
        elif isinstance(value, list):
            for number, below in enumerate(value):
                inner = f"{path}[{number}]"
                visit(below, inner, inner if isinstance(below, dict) or not path else owner)

    visit(value, "", "")
    yield from found.items()


def _strings(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [text for below in value for text in _strings(below)] if isinstance(value, list) else []


def _elements(element: ElementTree.Element, path: str) -> Iterator[tuple[str, list[str]]]:
    """Texts by the innermost element that has children and siblings of its own name."""
    texts: list[str] = []
    below: list[tuple[str, list[str]]] = []

    def gather(element: ElementTree.Element, path: str) -> None:
        texts.extend(text for text in (element.text, element.tail) if text and text.strip())
        counts, numbers = Counter(child.tag for child in element), Counter[str]()
        for child in element:
            inner = f"{path}/{child.tag}[{numbers[child.tag]}]"
            numbers[child.tag] += 1
            if counts[child.tag] > 1 and len(child):
                below.extend(_elements(child, inner))
            else:
                gather(child, inner)

    gather(element, path)
    if texts:
        yield path or "/", texts
    yield from below


def _parquet(file: Path) -> Iterator[tuple[str, list[str]]]:
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise DataError(f"{file} is a Parquet file.", "pip install 'glm130b[parquet]', or exclude it.") from None
    number = 0
    try:
        for batch in ParquetFile(file).iter_batches():
            for row in batch.to_pylist():
                yield str(number), _strings(row)
                number += 1
    except ArrowException as error:
        raise ValueError(str(error)) from None
