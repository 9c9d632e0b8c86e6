"""Documents out of files: JSON lines (also compressed), plain text and Parquet."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from glm130b.corpus.raw import BytesRead, read_lines, read_rows, readable
from glm130b.corpus.walk import walk_files
from glm130b.errors import DataError
from glm130b.files import is_partial

SUFFIXES = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".txt", ".parquet")
LEDGER = "data_ledger.json"
"""What a built corpus is known by."""

_FIELDS = ("id", "text", "lang", "source", "license")
_BUNDLED = Path(__file__).resolve().parent.parent / "data"
_EXCERPT = 300

FaultReason = Literal["not UTF-8", "too long", "not a document", "empty"]


@dataclass(frozen=True)
class Document:
    """One text and what is known of it; unknown fields are empty."""

    id: str
    text: str
    lang: str = ""
    source: str = ""
    license: str = ""


@dataclass(frozen=True)
class Fault:
    """A line, row or text file that is no document.

    Attributes:
        num_bytes: its length in the decompressed file.
        excerpt: how it begins.
        place: the line or row, counted from where reading began.
        detail: what is wrong, if the reason does not say it.
    """

    id: str
    reason: FaultReason
    num_bytes: int
    excerpt: str
    place: str = "line 1"
    detail: str = ""


def bundled_path(name: str) -> Path:
    """The file behind ``bundled:en`` or ``bundled:zh``, the demo corpus inside the package."""
    path = _BUNDLED / f"demo.{name}.jsonl"
    if not path.is_file():
        raise DataError(f"There is no bundled corpus {name!r}.", "Use bundled:en or bundled:zh.")
    return path


def source_files(path: str | Path) -> list[Path]:
    """The files behind a path: itself, or all readable kinds below a folder by sorted name.

    Folders below it that hold a built corpus or unfinished work are left out.

    Raises:
        DataError: there is nothing, a file of another kind or a built corpus; or see ``walk_files``.
    """
    if str(path).startswith("bundled:"):
        return [bundled_path(str(path).removeprefix("bundled:"))]
    path = Path(path)
    try:
        if path.is_dir():
            return folder_files(path)[0]
        if not path.is_file():
            raise DataError(f"There is no file or folder {path}.", "Check the path of the source.")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.", "Check the path of the source.") from None
    if not path.name.endswith(SUFFIXES):
        raise DataError(f"{path} is of a kind this version does not read.", f"Use {', '.join(SUFFIXES)}.")
    return [path]


def folder_files(folder: Path) -> tuple[list[Path], list[Path]]:
    """Files below a folder that can be read; files of other kinds and built corpora, sorted.

    Raises:
        DataError: the folder is a built corpus itself; or see ``walk_files``.
    """
    if (folder / LEDGER).is_file():
        raise DataError(
            f"{folder} holds a built corpus, not documents.", "Give documents; to train on it, extend its sources.yaml."
        )
    left_out: list[Path] = []

    def is_no_input(inner: Path) -> bool:
        is_corpus = (inner / LEDGER).is_file()
        if is_corpus and not is_partial(inner):
            left_out.append(inner)
        return is_corpus or is_partial(inner)

    files = [file for file in walk_files(folder, leave_out=is_no_input) if not is_partial(file)]
    chosen = [file for file in files if file.name.endswith(SUFFIXES)]
    return chosen, sorted([*left_out, *(file for file in files if not file.name.endswith(SUFFIXES))])


def read_documents(paths: Sequence[str | Path]) -> Iterator[Document]:
    """Stream the documents of files and folders, in the order given; folders are read by sorted name.

    A ``.txt`` file is one document. A JSON line is an object with ``text`` and, if it has them, ``id``,
    ``lang``, ``source`` and ``license``, each a string or a number; a Parquet file has columns of these names.
    Without ``id``, file name and line number stand in.

    Raises:
        DataError: a path is missing or of another kind, text is not UTF-8, a line is not such an object,
            or there is no text in any file.
    """
    found = False
    for path in paths:
        for file in source_files(path):
            for document in read_file(file, id_by_line=True):
                if isinstance(document, Document):
                    found = True
                    yield document
                elif document.reason != "empty":
                    raise _refusal(file, document)
    if not found:
        names = ", ".join(str(path) for path in paths)
        raise DataError(f"There is no text in {names or 'an empty list of files'}.", "Give files that hold documents.")


def read_file(
    path: Path,
    start: int = 0,
    end: int | None = None,
    *,
    max_document_bytes: int | None = None,
    advance: BytesRead = lambda num_bytes: None,
    id_by_line: bool = False,
) -> Iterator[Document | Fault]:
    """Stream the documents that begin in bytes ``[start, end)`` of a file, and what is none.

    Args:
        start, end: other than the whole file only where it is a ``.jsonl``.
        max_document_bytes: length of a line, row or text file beyond which it is passed over.
        advance: told the bytes read, as they lie on the disk.
        id_by_line: name a document without an id by its line rather than by its first byte.

    Raises:
        DataError: the file cannot be read, is cut short or damaged.
    """
    if path.suffix == ".txt":
        yield _read_text(path, max_document_bytes, advance)
    elif path.suffix == ".parquet":
        for number, row in enumerate(read_rows(path, _FIELDS, advance=advance), start=1):
            yield _from_row(row, f"{path.name}:{number}", f"row {number}", max_document_bytes)
    else:
        lines = read_lines(path, start, end, limit=max_document_bytes, advance=advance)
        for number, line in enumerate(lines, start=1):
            name, place = f"{path.name}:{number}" if id_by_line else f"{path.name}@{line.start}", f"line {number}"
            if not line.is_whole:
                yield _too_long(name, line.num_bytes, line.content, place)
            elif line.content.strip():
                yield _from_json(line.content, name, place, may_have_mark=line.start == 0)


def _read_text(path: Path, limit: int | None, advance: BytesRead) -> Document | Fault:
    with readable(path), path.open("rb") as file:
        size = path.stat().st_size
        advance(size)
        if limit is not None and size > limit:
            return _too_long(path.name, size, file.read(4 * _EXCERPT), "line 1")
        raw = file.read()
    return _from_text(raw, {}, path.name, lambda start: "line " + str(1 + raw.count(b"\n", 0, start)))


def _from_json(raw: bytes, name: str, place: str, *, may_have_mark: bool) -> Document | Fault:
    try:
        record = json.loads(raw.decode("utf-8-sig" if may_have_mark else "utf-8"))
        if not isinstance(record, dict) or "text" not in record:
            raise ValueError("it is no object with a text")
        if not isinstance(record["text"], str):
            raise ValueError("its text is no string")
        return _document(record, record["text"], len(raw), name, place)
    except UnicodeDecodeError:
        return Fault(name, "not UTF-8", len(raw), _excerpt(raw), place)
    except RecursionError:
        reason = "it is nested too deeply"
    except ValueError as error:
        reason = str(error)
    return Fault(name, "not a document", len(raw), _excerpt(raw), place, reason)


def _from_row(row: Mapping[str, Any], name: str, place: str, limit: int | None) -> Document | Fault:
    text = row["text"] or b""
    name = _label(row.get("id")) or name
    if limit is not None and len(text) > limit:
        return _too_long(name, len(text), text, place)
    return _from_text(text, row, name, lambda start: place)


def _from_text(raw: bytes, record: Mapping[str, Any], name: str, place_of: Callable[[int], str]) -> Document | Fault:
    try:
        return _document(record, raw.decode("utf-8"), len(raw), name, place_of(0))
    except UnicodeDecodeError as error:
        return Fault(name, "not UTF-8", len(raw), _excerpt(raw), place_of(error.start))


def _document(record: Mapping[str, Any], text: str, size: int, name: str, place: str) -> Document | Fault:
    known = {key: label for key in _FIELDS if key != "text" and (label := _label(record.get(key))) is not None}
    document = Document(**{"id": name, **known}, text=text)
    try:
        "".join((text, *known.values())).encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError("it holds half a surrogate pair, which is no character") from None
    return document if text.strip() else Fault(document.id, "empty", size, "", place)


def _label(value: object) -> str | None:
    """A string or number; anything else says nothing of a document."""
    if isinstance(value, str) or (isinstance(value, (int, float)) and not isinstance(value, bool)):
        return str(value) if not isinstance(value, float) or math.isfinite(value) else None
    return None


def _too_long(name: str, size: int, beginning: bytes, place: str) -> Fault:
    return Fault(name, "too long", size, _excerpt(beginning), place)


def _excerpt(raw: bytes) -> str:
    return raw[: 4 * _EXCERPT].decode("utf-8", "replace").strip()[:_EXCERPT]


def _refusal(path: Path, fault: Fault) -> DataError:
    if fault.reason == "not UTF-8":
        return DataError(f"{path}, {fault.place}, is not UTF-8.", "Convert the file to UTF-8, with iconv for example.")
    return DataError(
        f"{path}, {fault.place}, is not a document: {fault.detail}.",
        'A line is a JSON object with "text": a string.',
    )
