"""Passages of evaluation sets inside documents, found by an index of their n-grams.

An n-gram is n units in a row (``units.py``): words of an alphabetic script, characters of Chinese, after
NFKC, case and simplified/traditional folding. The index lies in memory-mapped files that processes share; its
size depends on the evaluation sets, not on the corpus.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from glm130b.corpus.evaluation_index import ARRAYS, write_index
from glm130b.corpus.evaluation_items import evaluation_files, read_items
from glm130b.corpus.units import Units, units
from glm130b.errors import DataError
from glm130b.files import read_json, whole_folder, write_json

NGRAM = 13
"""Units in a row that make a hit (Brown et al. 2020, appendix C)."""


@dataclass(frozen=True)
class Hit:
    """A passage of a document that an evaluation item has too.

    Attributes:
        task, item: of the evaluation set.
        start, end: of the passage in the document, in characters.
        overlap: share of the n-grams of one of the item's texts that the document has anywhere.
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

    Texts that several items share, such as a passage with many questions, are indexed once.

    Attributes:
        facts: ``n``; ``tasks``, for each its ``items``, those ``too_short`` for an n-gram, those of ``common``
            wording only, and the rest, ``indexed``; ``ngrams``; ``files`` read, and those ``skipped``.
    """

    def __init__(self, folder: Path) -> None:
        """Open what ``build`` wrote.

        Raises:
            DataError: it is incomplete.
        """
        self.facts: dict[str, Any] = read_json(folder / "index.json", DataError)
        self._n = int(self.facts["n"])
        try:
            arrays = [np.load(folder / f"{name}.npy", mmap_mode="r") for name in ARRAYS]
            self._names = np.memmap(folder / "names.jsonl", dtype=np.uint8, mode="r")
        except (OSError, ValueError, EOFError) as error:
            raise DataError(f"The index {folder} is incomplete ({error}).", "Delete the folder.") from None
        self._hashes, self._first_texts, self._texts, self._sizes, self._first_items, self._items = arrays[:6]
        self._places, self._filter = arrays[6:]
        self._mask = np.uint64(8 * len(self._filter) - 1)

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
        items = (item for task, file, name in files for item in read_items(task, file, name))
        with whole_folder(folder) as partial:
            facts = write_index(items, partial, n)
            write_json(
                partial / "index.json",
                {
                    "n": n,
                    **facts,
                    "files": [str(file) for _, file, _ in files],
                    "skipped": [str(file) for file in skipped],
                },
            )
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
        if not len(self._hashes) or not len(places):
            return []
        rows = np.minimum(np.searchsorted(self._hashes, grams[places]), len(self._hashes) - 1)
        known = self._hashes[rows] == grams[places]
        found: dict[int, list[tuple[int, int]]] = {}
        for place, row in zip(places[known].tolist(), rows[known].tolist(), strict=True):
            for number in self._texts[self._first_texts[row] : self._first_texts[row + 1]].tolist():
                found.setdefault(number, []).append((place, row))
        hits = [hit for number, matches in found.items() for hit in self._text_hits(number, matches, cut)]
        return sorted(set(hits), key=lambda hit: (hit.start, hit.end, hit.task, hit.item, hit.overlap))

    def _text_hits(self, number: int, matches: list[tuple[int, int]], cut: Units) -> Iterator[Hit]:
        """For each item of a text one hit a stretch; matches less than an n-gram apart are one stretch."""
        overlap = len({row for _, row in matches}) / int(self._sizes[number])
        stretches: list[list[int]] = []
        for place, _ in matches:
            if stretches and place - stretches[-1][1] < self._n:
                stretches[-1][1] = place
            else:
                stretches.append([place, place])
        for item in self._items[self._first_items[number] : self._first_items[number + 1]].tolist():
            task, name = self._name(item)
            for first, last in stretches:
                yield Hit(task, name, int(cut.starts[first]), int(cut.ends[last + self._n - 1]), overlap)

    def _name(self, item: int) -> tuple[str, str]:
        start, stop = int(self._places[item]), int(self._places[item + 1])
        task, name = json.loads(bytes(self._names[start:stop]))
        return task, name
