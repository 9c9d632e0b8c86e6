"""Documents out of files: JSON lines (also gzipped) and plain text."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

from glm130b.errors import DataError

_SUFFIXES = (".jsonl", ".jsonl.gz", ".txt")
_FIELDS = ("id", "text", "lang", "source", "license")
_BUNDLED = Path(__file__).resolve().parent.parent / "data"


@dataclass(frozen=True)
class Document:
    """One text and what is known of it; unknown fields are empty."""

    id: str
    text: str
    lang: str = ""
    source: str = ""
    license: str = ""


def bundled_path(name: str) -> Path:
    """The file behind ``bundled:en`` or ``bundled:zh``, the demo corpus inside the package."""
    path = _BUNDLED / f"demo.{name}.jsonl"
    if not path.is_file():
        raise DataError(f"There is no bundled corpus {name!r}.", "Use bundled:en or bundled:zh.")
    return path


def read_documents(paths: Sequence[str | Path]) -> Iterator[Document]:
    """Stream the documents of files and folders, in the order given; folders are read by sorted name.

    A ``.txt`` file is one document. A JSON line is an object with ``text`` and, if it has them, ``id``,
    ``lang``, ``source`` and ``license``; without ``id``, file name and line number stand in.

    Raises:
        DataError: a path is missing or of another kind, text is not UTF-8, a line is not such an object,
            or there is no text in any file.
    """
    found = False
    for path in paths:
        for file in _files(path):
            for document in _read_file(file):
                if document.text:
                    found = True
                    yield document
    if not found:
        names = ", ".join(str(path) for path in paths)
        raise DataError(f"There is no text in {names or 'an empty list of files'}.", "Give files that hold documents.")


def _files(path: str | Path) -> list[Path]:
    if str(path).startswith("bundled:"):
        return [bundled_path(str(path).removeprefix("bundled:"))]
    path = Path(path)
    try:
        if path.is_dir():
            return [file for file in sorted(path.rglob("*")) if file.name.endswith(_SUFFIXES) and file.is_file()]
        if not path.is_file():
            raise DataError(f"There is no file or folder {path}.", "Check the path of the source.")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.", "Check the path of the source.") from None
    if not path.name.endswith(_SUFFIXES):
        raise DataError(f"{path} is of a kind this version does not read.", f"Use {', '.join(_SUFFIXES)}.")
    return [path]


def _read_file(path: Path) -> Iterator[Document]:
    try:
        if path.suffix == ".txt":
            yield Document(id=path.name, text=_decode(path.read_bytes(), path, 1))
            return
        with _open(path) as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield _parse(_decode(line, path, number), path, number)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path} cannot be read: {reason}.", "Check the file, or copy it again.") from None


def _open(path: Path) -> gzip.GzipFile | BufferedReader:
    return gzip.GzipFile(path) if path.suffix == ".gz" else path.open("rb")


def _decode(raw: bytes, path: Path, line: int) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line += raw[: error.start].count(b"\n")
        raise DataError(
            f"{path}, line {line}, is not UTF-8.", "Convert the file to UTF-8, with iconv for example."
        ) from None


def _parse(line: str, path: Path, number: int) -> Document:
    try:
        record = json.loads(line)
        if not isinstance(record, dict) or "text" not in record:
            raise ValueError("it is no object with a text")
        if not isinstance(record["text"], str):
            raise ValueError("its text is no string")
        known = {key: str(record[key]) for key in _FIELDS if record.get(key) is not None}
        "".join(known.values()).encode("utf-8")
    except UnicodeEncodeError:
        reason = "it holds half a surrogate pair, which is no character"
    except RecursionError:
        reason = "it is nested too deeply"
    except ValueError as error:
        reason = str(error)
    else:
        return Document(**{"id": f"{path.name}:{number}", **known})
    raise DataError(
        f"{path}, line {number}, is not a document: {reason}.", 'A line is a JSON object with "text": a string.'
    )
