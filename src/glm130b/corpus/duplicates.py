"""Exact and near duplicates by MinHash and banding, over keys sorted on disk.

Every document has a few 64-bit keys: one for the whole of its folded text, and one for each band of its
MinHash signature. Two documents are taken for duplicates if they share a key. Of the documents with a key
the first stays and all others go, so the outcome depends on the order of the documents alone, each range
of the keys can be searched by itself, and no table of clusters is held.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glm130b.config import DuplicatesConfig
from glm130b.corpus.units import Hashes, Units, scramble

KEY = np.dtype([("key", "<u8"), ("document", "<u8")])
"""A row of a key file. The lowest bit of the key says whether it is that of a whole text."""

MATCH = np.dtype([("document", "<u8"), ("witness", "<u8"), ("is_exact", "?")])
"""A document that repeats an earlier one."""

Rows = NDArray[Any]
"""Records of ``KEY`` or ``MATCH``, ``[n]``."""

_INDEX_BITS = 40
_SEED = 1
_BLOCK = 1024
_EXACT = np.uint64(1)
_BASE = np.uint64(0x9E3779B97F4A7C15)


def document_number(part: int, index: int) -> int:
    """Number of a document in the order of the whole corpus."""
    return part << _INDEX_BITS | index


class Signer:
    """The keys of a document."""

    def __init__(self, config: DuplicatesConfig) -> None:
        from datasketch import MinHash

        self._config = config
        minhash = MinHash(num_perm=config.bands * config.rows, seed=_SEED, scheme="affine32")
        self._factors, self._shifts = (row[:, None] for row in minhash.permutations)

    def keys(self, units: Units) -> Hashes:
        """Exact key, then one key a band, uint64 ``[1 + bands]``.

        None of a text without units; no bands of one that is shorter than a shingle.
        """
        found = []
        if self._config.exact and len(units):
            found.append(_sequence_hash(units.hashes) | _EXACT)
        is_characters = 2 * units.num_characters > len(units)
        shingles = units.ngrams(self._config.characters if is_characters else self._config.words)
        if self._config.near and len(shingles):
            values = self.signature(shingles).astype(np.uint64)
            hashes = scramble(values + np.arange(1, len(values) + 1, dtype=np.uint64) * _BASE)
            bands = hashes.reshape(self._config.bands, self._config.rows).sum(axis=1, dtype=np.uint64)
            found.append(scramble(bands) & ~_EXACT)
        return np.concatenate(found) if found else np.zeros(0, dtype=np.uint64)

    def signature(self, shingles: Hashes) -> NDArray[np.uint32]:
        """What ``datasketch.MinHash`` says of the lower halves of the hashes, uint32 ``[bands * rows]``.

        Computed block by block, so that a book takes no more memory than a page.
        """
        hashes = _fmix32(shingles.astype(np.uint32))
        least = np.full(len(self._factors), 0xFFFFFFFF, dtype=np.uint32)
        for start in range(0, len(hashes), _BLOCK):
            permuted = self._factors * hashes[None, start : start + _BLOCK] + self._shifts
            np.minimum(least, permuted.min(axis=1), out=least)
        return least


class KeyRun:
    """The keys of a part's documents, gathered in memory (16 bytes each) and written in their order."""

    def __init__(self) -> None:
        self._keys = array("Q")
        self._documents = array("Q")

    def add(self, document: int, keys: Hashes) -> None:
        """Take the keys of one document; documents come in ascending order."""
        self._keys.frombytes(keys.tobytes())
        self._documents.extend([document] * len(keys))

    def write(self, path: Path) -> None:
        """Write rows of ``KEY``, by key, then by document."""
        keys = np.frombuffer(self._keys, dtype=np.uint64) if self._keys else np.zeros(0, dtype=np.uint64)
        documents = np.frombuffer(self._documents, dtype=np.uint64) if self._documents else keys
        order = np.argsort(keys, kind="stable")
        with path.open("wb") as file:
            for start in range(0, len(order), 1 << 16):
                chosen = order[start : start + (1 << 16)]
                rows = np.empty(len(chosen), dtype=KEY)
                rows["key"], rows["document"] = keys[chosen], documents[chosen]
                file.write(rows.tobytes())


def plan_ranges(key_files: Sequence[Path], max_keys: int) -> list[tuple[int, int]]:
    """Cut the space of keys into equal ranges ``[low, high)`` of about ``max_keys`` rows at most."""
    total = sum(file.stat().st_size // KEY.itemsize for file in key_files)
    count = max(1, -(-total // max_keys))
    edges = [(n << 64) // count for n in range(count + 1)]
    return list(pairwise(edges))


def find_duplicates(key_files: Sequence[Path], low: int, high: int) -> Iterator[Rows]:
    """For every document with a key in ``[low, high)`` that an earlier one has too: both numbers.

    Memory holds the different keys of the range and one file's rows of it, however often a key occurs.

    Args:
        key_files: as ``KeyRun`` wrote them.

    Yields:
        Rows of ``MATCH`` for each file in turn, by document, one each: an exact match if there is one, and of
        those the earliest witness.
    """
    firsts = []
    for path in key_files:
        rows = _in_range(path, low, high)
        firsts.append(rows[_is_first(rows["key"])])
    known = np.concatenate(firsts) if firsts else np.zeros(0, dtype=KEY)
    del firsts
    known = known[np.lexsort((known["document"], known["key"]))]
    known = known[_is_first(known["key"])]
    for path in key_files:
        rows = _in_range(path, low, high)
        witnesses = known["document"][np.searchsorted(known["key"], rows["key"])]
        repeats = np.flatnonzero(witnesses != rows["document"])
        matches = np.empty(len(repeats), dtype=MATCH)
        matches["document"], matches["witness"] = rows["document"][repeats], witnesses[repeats]
        matches["is_exact"] = (rows["key"][repeats] & _EXACT).astype(bool)
        yield _one_each(matches)


def write_matches(path: Path, matches: Iterable[Rows]) -> int:
    """Write rows of ``MATCH`` one after the other; returns their number."""
    count = 0
    with path.open("wb") as file:
        for rows in matches:
            file.write(rows.tobytes())
            count += len(rows)
    return count


def merge_matches(match_files: Sequence[Path], part: int) -> Rows:
    """The documents of a part that repeat an earlier one, from all ranges.

    Args:
        match_files: each by document, as ``find_duplicates`` yields them if the key files were in order.

    Returns:
        Rows of ``MATCH`` by document, one each, chosen as in each range.
    """
    low, high = document_number(part, 0), document_number(part + 1, 0)
    found = [np.zeros(0, dtype=MATCH)]
    for path in match_files:
        rows = _open(path, MATCH)
        start, end = np.searchsorted(rows["document"], np.array([low, high], dtype=np.uint64))
        found.append(np.array(rows[start:end]))
    return _one_each(np.concatenate(found))


def _one_each(rows: Rows) -> Rows:
    rows = rows[np.lexsort((rows["witness"], ~rows["is_exact"], rows["document"]))]
    return rows[_is_first(rows["document"])]


def _open(path: Path, kind: np.dtype[Any]) -> Rows:
    return np.memmap(path, dtype=kind, mode="r") if path.stat().st_size else np.zeros(0, dtype=kind)


def _in_range(path: Path, low: int, high: int) -> Rows:
    rows = _open(path, KEY)
    start = np.searchsorted(rows["key"], np.uint64(low))
    end = np.searchsorted(rows["key"], np.uint64(high)) if high < 1 << 64 else len(rows)
    return np.array(rows[start:end])


def _is_first(values: Hashes) -> NDArray[np.bool_]:
    """Of sorted values, which differ from the one before."""
    return np.concatenate(([True], values[1:] != values[:-1])) if len(values) else np.zeros(0, dtype=np.bool_)


def _sequence_hash(hashes: Hashes) -> Hashes:
    """One hash of a whole row, ``[1]``: value and position of each unit, scrambled and added up."""
    places = np.arange(1, len(hashes) + 1, dtype=np.uint64)
    return scramble(scramble(hashes + places * _BASE).sum(keepdims=True, dtype=np.uint64))


def _fmix32(values: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """The 32-bit finaliser of MurmurHash3, with which datasketch mixes what it is given."""
    values = (values ^ (values >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    values = (values ^ (values >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    mixed: NDArray[np.uint32] = values ^ (values >> np.uint32(16))
    return mixed
