"""Passages of evaluation sets inside documents, found by an index of their n-grams.

An n-gram is n units in a row (``units.py``): words of an alphabetic script, characters of Chinese, after
NFKC, case and simplified/traditional folding. The index lies in memory-mapped files that processes share; its
size depends on the evaluation sets, not on the corpus.
"""

from __future__ import annotations

import json
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glm130b.corpus.evaluation_items import Item, evaluation_files, read_items
from glm130b.corpus.units import Hashes, Units, units
from glm130b.errors import DataError
from glm130b.files import read_json, whole_folder, write_json

NGRAM = 13
"""Units in a row that make a hit (Brown et al. 2020, appendix C)."""

_MAX_ITEMS = 20
"""An n-gram of more items than this is their common wording, and says nothing about any of them."""

_BATCH = 1 << 20
"""Characters cut into units at once."""


@dataclass(frozen=True)
class Hit:
    """A passage of a document that an evaluation item has too.

    Attributes:
        task, item: of the evaluation set.
        start, end: of the passage in the document, in characters.
        overlap: share of the item's n-grams that the document has anywhere.
    """

    task: str
    item: str
    start: int
    end: int
    overlap: float

    def record(self, source: str, document: str) -> dict[str, Any]:
        """What a line of ``contamination.jsonl`` says."""
        fields = asdict(self)
        span = [fields.pop("start"), fields.pop("end")]
        overlap = round(fields.pop("overlap"), 4)
        return {**fields, "source": source, "document": document, "span": span, "overlap": overlap}


class EvaluationIndex:
    """The n-grams of evaluation sets, memory-mapped.

    Attributes:
        facts: ``n``; ``tasks``, for each its items, those with an n-gram at all, and its n-grams; files read
            and files that are of no readable kind.
    """

    def __init__(self, folder: Path) -> None:
        self.facts: dict[str, Any] = read_json(folder / "index.json", DataError)
        self._n = int(self.facts["n"])
        try:
            self._hashes, self._firsts, self._items, self._sizes, self._filter, self._places = (
                np.load(folder / f"{name}.npy", mmap_mode="r")
                for name in ("hashes", "firsts", "items", "sizes", "filter", "places")
            )
            self._names = np.memmap(folder / "names.jsonl", dtype=np.uint8, mode="r")
        except (OSError, ValueError, EOFError) as error:
            raise DataError(f"The index {folder} is incomplete ({error}).", "Delete the folder.") from None
        self._mask = np.uint64(8 * len(self._filter) - 1)

    @classmethod
    def open(cls, folder: Path) -> EvaluationIndex:
        """Open what ``build`` wrote.

        Raises:
            DataError: it is incomplete.
        """
        return cls(folder)

    @classmethod
    def build(
        cls, paths: Sequence[str | Path], folder: Path, *, exclude: Sequence[str] = (), n: int = NGRAM
    ) -> EvaluationIndex:
        """Index evaluation files and folders; ``folder`` is whole or not there.

        Args:
            paths: files, or folders that hold a folder for each task.
            exclude: names of files or folders to leave out.
            n: units in an n-gram.

        Raises:
            DataError: a path is missing, or a file cannot be read.
        """
        files, skipped = evaluation_files(paths, exclude)
        tasks: dict[str, Counter[str]] = {task: Counter() for task, _, _ in files}
        hashes, owners, sizes, places = array("Q"), array("i"), array("i"), array("q")
        with whole_folder(folder) as partial:
            with (partial / "names.jsonl").open("wb") as names:
                for task, file, name in files:
                    for item, grams in _item_grams(read_items(task, file, name), n):
                        tasks[task].update(items=1, indexed=int(len(grams) > 0), ngrams=len(grams))
                        if len(grams):
                            places.append(names.tell())
                            names.write(json.dumps([item.task, item.name], ensure_ascii=False).encode() + b"\n")
                            hashes.frombytes(grams.tobytes())
                            owners.frombytes(np.full(len(grams), len(sizes), dtype=np.int32).tobytes())
                            sizes.append(len(grams))
                names.write(b"\n")
            _write_arrays(partial, hashes, owners, sizes, places)
            facts = {
                "n": n,
                "tasks": {task: dict(counts) for task, counts in tasks.items()},
                "files": [str(file) for _, file, _ in files],
                "skipped": [str(file) for file in skipped],
            }
            write_json(partial / "index.json", facts)
        return cls(folder)

    def hits(self, text: str, cut: Units | None = None) -> list[Hit]:
        """Passages of ``text`` that evaluation items have, by place.

        Args:
            text: of a document.
            cut: its units, if they are known already.
        """
        cut = cut or units(text)
        grams = cut.ngrams(self._n)
        low = grams & self._mask
        bits = self._filter[(low >> np.uint64(3)).astype(np.int64)] >> (low & np.uint64(7)).astype(np.uint8)
        places = np.flatnonzero(bits & 1)
        rows = np.searchsorted(self._hashes, grams[places])
        rows = np.minimum(rows, max(0, len(self._hashes) - 1))
        known = self._hashes[rows] == grams[places] if len(self._hashes) else np.zeros(len(rows), dtype=bool)
        found: dict[int, list[tuple[int, int]]] = {}
        for place, row in zip(places[known].tolist(), rows[known].tolist(), strict=True):
            for item in self._items[self._firsts[row] : self._firsts[row + 1]].tolist():
                found.setdefault(item, []).append((place, row))
        hits = [hit for item, matches in found.items() for hit in self._item_hits(item, matches, cut)]
        return sorted(hits, key=lambda hit: (hit.start, hit.end, hit.task, hit.item))

    def _item_hits(self, item: int, matches: list[tuple[int, int]], cut: Units) -> list[Hit]:
        """One hit for each stretch; matches less than an n-gram apart are one."""
        task, name = self._name(item)
        overlap = len({row for _, row in matches}) / int(self._sizes[item])
        stretches: list[list[int]] = []
        for place, _ in matches:
            if stretches and place - stretches[-1][1] < self._n:
                stretches[-1][1] = place
            else:
                stretches.append([place, place])
        return [
            Hit(task, name, int(cut.starts[first]), int(cut.ends[last + self._n - 1]), overlap)
            for first, last in stretches
        ]

    def _name(self, item: int) -> tuple[str, str]:
        start = int(self._places[item])
        stop = int(self._places[item + 1]) if item + 1 < len(self._places) else len(self._names) - 1
        task, name = json.loads(bytes(self._names[start:stop]))
        return task, name


def _item_grams(items: Iterable[Item], n: int) -> Iterator[tuple[Item, Hashes]]:
    """Each item and the distinct n-grams within its texts; many items are cut into units at once."""
    batch: list[Item] = []
    size = 0
    for item in items:
        batch.append(item)
        size += sum(map(len, item.texts))
        if size > _BATCH:
            yield from _batch_grams(batch, n)
            batch, size = [], 0
    yield from _batch_grams(batch, n)


def _batch_grams(batch: list[Item], n: int) -> Iterator[tuple[Item, Hashes]]:
    texts = [(number, text) for number, item in enumerate(batch) for text in item.texts]
    cut = units("\n".join(text for _, text in texts))
    first_places = np.cumsum([0] + [len(text) + 1 for _, text in texts])
    text_of = np.searchsorted(first_places, cut.starts, side="right") - 1
    grams = cut.ngrams(n)
    inside = text_of[: len(grams)] == text_of[len(text_of) - len(grams) :]
    item_of = np.array([number for number, _ in texts], dtype=np.int64)[text_of[: len(grams)][inside]]
    grams = grams[inside]
    bounds = np.searchsorted(item_of, np.arange(len(batch) + 1))
    for number, item in enumerate(batch):
        yield item, np.unique(grams[bounds[number] : bounds[number + 1]])


def _write_arrays(folder: Path, hashes: array[int], owners: array[int], sizes: array[int], places: array[int]) -> None:
    keys, items = np.frombuffer(hashes, dtype=np.uint64), np.frombuffer(owners, dtype=np.int32)
    order = np.argsort(keys, kind="stable")
    keys, items = keys[order], items[order]
    unique, firsts, counts = np.unique(keys, return_index=True, return_counts=True)
    rare = counts <= _MAX_ITEMS
    kept = np.repeat(rare, counts)
    unique, counts, items = unique[rare], counts[rare], items[kept]
    firsts = np.concatenate(([0], np.cumsum(counts)))
    num_bits = 1 << max(10, (16 * max(1, len(unique)) - 1).bit_length())
    bitmap = np.zeros(num_bits // 8, dtype=np.uint8)
    low = unique & np.uint64(num_bits - 1)
    np.bitwise_or.at(
        bitmap, (low >> np.uint64(3)).astype(np.int64), np.uint8(1) << (low & np.uint64(7)).astype(np.uint8)
    )
    arrays: dict[str, NDArray[Any]] = {
        "hashes": unique,
        "firsts": firsts.astype(np.int64),
        "items": items,
        "sizes": np.frombuffer(sizes, dtype=np.int32),
        "places": np.frombuffer(places, dtype=np.int64),
        "filter": bitmap,
    }
    for name, values in arrays.items():
        np.save(folder / f"{name}.npy", values)
