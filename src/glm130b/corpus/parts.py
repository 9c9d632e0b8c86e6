"""A corpus cut into parts, each of them one task's work."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from glm130b.config import BuildConfig
from glm130b.corpus.documents import Document, Fault, read_file, source_files
from glm130b.corpus.raw import BytesRead, readable
from glm130b.errors import DataError


@dataclass(frozen=True)
class Slice:
    """The lines of a file that begin in bytes ``[start, end)``; ``end`` None is the end of the file."""

    path: Path
    start: int
    end: int | None


@dataclass(frozen=True)
class Part:
    """Files and pieces of files of one source.

    Attributes:
        number: place in the corpus, counted from 0 over all sources.
        num_bytes: size of its slices as they lie on the disk.
    """

    number: int
    source: str
    slices: tuple[Slice, ...]
    num_bytes: int


def plan_parts(recipe: BuildConfig) -> list[Part]:
    """Cut and group the files of each source into parts of about ``part_bytes``, in their order.

    Only a ``.jsonl`` is cut. The outcome depends on the names and sizes of the files and on ``part_bytes``.

    Raises:
        DataError: a path is missing, of a kind that is not read or there twice, or a source has no file.
    """
    parts: list[Part] = []
    for name, source in recipe.active_sources.items():
        files = [file for path in source.path for file in source_files(path)]
        if not files:
            raise DataError(
                f"Source {name} ({', '.join(source.path)}) has no file that can be read.",
                "Check the path of the source.",
            )
        _refuse_twice(name, files)
        for slices, size in _group(files, recipe.part_bytes):
            parts.append(Part(len(parts), name, slices, size))
    return parts


def read_part(part: Part, *, max_document_bytes: int, advance: BytesRead) -> Iterator[Document | Fault]:
    """Stream the documents of a part, and what in it is none.

    Args:
        advance: told the bytes read, as they lie on the disk; over all parts they add up to the files.

    Raises:
        DataError: a file cannot be read, is cut short or damaged.
    """
    for piece in part.slices:
        yield from read_file(piece.path, piece.start, piece.end, max_document_bytes=max_document_bytes, advance=advance)


def _refuse_twice(name: str, files: list[Path]) -> None:
    seen = set()
    for file in files:
        place = file.resolve()
        if place in seen:
            raise DataError(f"Source {name} names {file} twice.", "Name every file once.")
        seen.add(place)


def _group(files: list[Path], part_bytes: int) -> Iterator[tuple[tuple[Slice, ...], int]]:
    held: list[Slice] = []
    total = 0
    for piece, size in (item for file in files for item in _cut(file, part_bytes)):
        if held and total + size > part_bytes:
            yield tuple(held), total
            held, total = [], 0
        held.append(piece)
        total += size
    yield tuple(held), total


def _cut(path: Path, part_bytes: int) -> Iterator[tuple[Slice, int]]:
    with readable(path):
        size = path.stat().st_size
    count = -(-size // part_bytes) if path.suffix == ".jsonl" else 1
    if count <= 1:
        yield Slice(path, 0, None), size
        return
    edges = [size * n // count for n in range(count + 1)]
    for start, end in pairwise(edges):
        yield Slice(path, start, None if end == size else end), end - start
