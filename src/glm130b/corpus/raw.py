"""Lines and rows out of files, in bounded memory, whatever lies in them."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader, RawIOBase
from pathlib import Path
from typing import Any, BinaryIO

from glm130b.errors import DataError

BytesRead = Callable[[int], None]
"""Told how many bytes of a file were read, as they lie on the disk."""

_SKIP = 1 << 20
_ZSTD_INPUT = 1 << 8
"""Compressed bytes decompressed at a time: a frame can grow by a factor of 40,000."""
_BATCH = 1 << 24


@dataclass(frozen=True)
class Line:
    """One line of a file.

    Attributes:
        start: where it begins, in bytes of the decompressed file.
        num_bytes: its length, with the newline.
        content: its bytes, or the beginning of a line that is longer than the limit.
        is_whole: whether ``content`` is all of it.
    """

    start: int
    num_bytes: int
    content: bytes
    is_whole: bool


def read_lines(path: Path, start: int, end: int | None, *, limit: int | None, advance: BytesRead) -> Iterator[Line]:
    """Stream the lines that begin in bytes ``[start, end)``; a compressed file is read whole.

    A line longer than ``limit`` is passed over in blocks and never held.

    Raises:
        DataError: the file cannot be read, is cut short or damaged.
    """
    is_plain = path.suffix not in _OPENERS
    with readable(path), path.open("rb") as file:
        stream = file if is_plain else _OPENERS[path.suffix](_counted(file, advance))
        position = start
        if start:
            file.seek(start - 1)
            position += _skip_line(stream) - 1
        while end is None or position < end:
            content = stream.readline(-1 if limit is None else limit + 1)
            if not content:
                return
            is_whole = limit is None or len(content) <= limit or content.endswith(b"\n")
            size = len(content) + (0 if is_whole else _skip_line(stream))
            if is_plain:
                advance(size)
            yield Line(position, size, content, is_whole)
            position += size


def read_rows(path: Path, fields: tuple[str, ...], *, advance: BytesRead) -> Iterator[dict[str, Any]]:
    """Stream the rows of a Parquet file as far as they belong to ``fields``; ``text`` comes as bytes or None.

    Raises:
        DataError: pyarrow is not installed, or the file cannot be read or has no column ``text`` of strings.
    """
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        remedy = "Install it: pip install 'glm130b[parquet]'."
        raise DataError(f"{path} cannot be read: pyarrow is not installed.", remedy) from None
    try:
        with readable(path), path.open("rb") as stream:
            file = parquet.ParquetFile(stream)
            kind = {field.name: field.type for field in file.schema_arrow}.get("text")
            if not _is_text(kind):
                raise DataError(f"{path} has no column text that holds strings.", "Name the column of documents text.")
            size, count = path.stat().st_size, file.metadata.num_rows
            names = [name for name in fields if name in file.schema_arrow.names]
            groups = (file.metadata.row_group(n) for n in range(file.num_row_groups))
            largest = max((group.total_byte_size // max(1, group.num_rows) for group in groups), default=0)
            done = told = 0
            for batch in file.iter_batches(max(1, min(1024, _BATCH // max(1, largest))), columns=names):
                texts = batch.column("text").cast(pa.large_string()).cast(pa.large_binary())
                columns = {name: texts if name == "text" else batch.column(name) for name in names}
                for row in range(batch.num_rows):
                    yield {name: column[row].as_py() for name, column in columns.items()}
                done += batch.num_rows
                advance(size * done // count - told)
                told = size * done // count
            advance(size - told)
    except pa.ArrowException as error:
        raise _unreadable(path, error) from None


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn what a broken file raises into a DataError that names it."""
    try:
        yield
    except (OSError, EOFError, zlib.error) as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> DataError:
    reason = " ".join(str(getattr(error, "strerror", None) or error).split())
    return DataError(f"{path} cannot be read: {reason.rstrip('.')}.", "Check the file, or copy it again.")


def _is_text(kind: Any) -> bool:
    """Whether an Arrow type is one of strings, also as a dictionary."""
    return "string" in str(kind) and not str(kind).startswith(("list", "struct", "map", "large_list"))


def _skip_line(stream: BinaryIO) -> int:
    """Pass over the rest of a line; returns its length."""
    size = 0
    while block := stream.readline(_SKIP):
        size += len(block)
        if block.endswith(b"\n"):
            break
    return size


class _Counted(RawIOBase):
    """A file that tells how much of it was read."""

    def __init__(self, file: BinaryIO, advance: BytesRead) -> None:
        self._file, self._advance = file, advance

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        block = self._file.read(len(buffer))
        buffer[: len(block)] = block
        self._advance(len(block))
        return len(block)


class _Zstd(RawIOBase):
    """The content of all frames of a file, one after the other; EOFError if the last one is not whole."""

    def __init__(self, file: BinaryIO) -> None:
        import zstandard

        self._file = file
        self._error = zstandard.ZstdError
        self._start = zstandard.ZstdDecompressor().decompressobj
        self._frame: Any = self._start()
        self._left = memoryview(b"")
        self._is_between = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not len(self._left):
            source = self._frame.unused_data if self._frame.eof else b""
            source = source or self._file.read(_ZSTD_INPUT)
            if not source:
                if not self._frame.eof:
                    raise EOFError("it ends in the middle of a frame")
                return 0
            if self._frame.eof:
                self._frame = self._start()
            try:
                self._left = memoryview(self._frame.decompress(source))
            except self._error as error:
                raise OSError(str(error)) from None
        size = min(len(buffer), len(self._left))
        buffer[:size] = self._left[:size]
        self._left = self._left[size:]
        return size


def _counted(file: BinaryIO, advance: BytesRead) -> BinaryIO:
    return BufferedReader(_Counted(file, advance), 1 << 16)


def _gzip(file: BinaryIO) -> BinaryIO:
    if not file.peek(1):  # type: ignore[attr-defined]
        raise EOFError("it is empty")
    return gzip.GzipFile(fileobj=file)  # type: ignore[return-value]


def _zstd(file: BinaryIO) -> BinaryIO:
    return BufferedReader(_Zstd(file), 1 << 16)


_OPENERS: dict[str, Callable[[BinaryIO], BinaryIO]] = {".gz": _gzip, ".zst": _zstd}
