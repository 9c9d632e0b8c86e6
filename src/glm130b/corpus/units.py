"""Text as a row of hashed units, for finding the same passage again: duplicates and test sets.

A unit is a word of a script that separates words, or one character of a script that does not (Han, kana,
Thai, Lao, Khmer, Burmese, Tibetan). Case, compatibility forms (NFKC) and traditional characters are folded;
everything that is neither letter nor digit only separates. All of it is array arithmetic.
"""

from __future__ import annotations

import sys
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]
Offsets = NDArray[np.int64]

_SEPARATOR, _LETTER, _CHARACTER = 0, 1, 2
_PLANES = 0x32000
"""Code points from here on are unassigned, private or select variants; they separate."""

_UNSPACED = (
    (0x0E00, 0x0FFF),  # Thai, Lao, Tibetan
    (0x1000, 0x109F),  # Burmese
    (0x1780, 0x17FF),  # Khmer
    (0x2E80, 0x2FDF),  # radicals
    (0x3005, 0x3007),
    (0x3021, 0x3029),
    (0x3040, 0x30FF),  # kana
    (0x31F0, 0x31FF),
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x323AF),
)


@dataclass(frozen=True)
class Units:
    """The units of one text.

    Attributes:
        hashes: one 64-bit hash a unit, uint64 ``[n]``; equal if the folded units are.
        starts, ends: where each stands in the original text, int64 ``[n]``, in characters.
        num_characters: how many of them are single characters rather than words.
    """

    hashes: Hashes
    starts: Offsets
    ends: Offsets
    num_characters: int

    def __len__(self) -> int:
        return len(self.hashes)

    def ngrams(self, n: int) -> Hashes:
        """A hash of every ``n`` units in a row, uint64 ``[len - n + 1]``, or of none if there are fewer."""
        count = len(self.hashes) - n + 1
        if count <= 0:
            return np.zeros(0, dtype=np.uint64)
        result = np.zeros(count, dtype=np.uint64)
        for place in range(n):
            result = result * _NGRAM_BASE + self.hashes[place : place + count]
        return scramble(result)


def units(text: str) -> Units:
    """Fold ``text`` and cut it into units."""
    points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    tables = _tables()
    places = np.arange(len(points), dtype=np.int64)
    points = np.where(points < _PLANES, points, np.uint32(0))
    if len(tables.long) and (expands := tables.count[points] > 1).any():
        points, places = _expand(points, places, expands, tables)
    points = tables.fold[points]
    kind = tables.kind[points]
    is_word_start = (kind == _LETTER) & np.concatenate(([True], kind[1:] != kind[:-1])) if len(kind) else kind == 1
    starts = np.flatnonzero(is_word_start | (kind == _CHARACTER))
    if not len(starts):
        empty = np.zeros(0, dtype=np.int64)
        return Units(np.zeros(0, dtype=np.uint64), empty, empty, 0)
    values = np.where(kind == _SEPARATOR, np.uint64(0), scramble(points.astype(np.uint64) + np.uint64(1)))
    lengths = _run_lengths(kind, starts)
    return Units(
        _word_hashes(values, starts, lengths),
        places[starts],
        places[starts + lengths - 1] + 1,
        int((kind[starts] == _CHARACTER).sum()),
    )


def scramble(values: Hashes) -> Hashes:
    """The finaliser of SplitMix64, a bijection that spreads every bit."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: Hashes = values ^ (values >> np.uint64(31))
    return mixed


_NGRAM_BASE = np.uint64(0x9E3779B97F4A7C15)
_WORD_BASE = np.uint64(0xD6E8FEB86659FD93)


def _run_lengths(kind: NDArray[np.uint8], starts: Offsets) -> Offsets:
    """Length of the word at each start; 1 for a character."""
    changes = np.flatnonzero(np.concatenate((kind[1:] != kind[:-1], [True]))) + 1
    ends = changes[np.searchsorted(changes, starts, side="right")]
    return np.where(kind[starts] == _CHARACTER, 1, ends - starts)


def _word_hashes(values: Hashes, starts: Offsets, lengths: Offsets) -> Hashes:
    """Polynomial hash of each word, character by character over all words at once, longest words last."""
    hashes = values[starts]
    rows = np.flatnonzero(lengths > 1)
    place = 1
    while len(rows):
        hashes[rows] = hashes[rows] * _WORD_BASE + values[starts[rows] + place]
        place += 1
        rows = rows[lengths[rows] > place]
        if place == _LONGEST_WORD:
            break
    return scramble(hashes)


_LONGEST_WORD = 64
"""Letters of a word that count; a longer run is no word."""


@dataclass(frozen=True)
class _Tables:
    """By code point: what it folds to, of which kind that is, and the few that fold to several."""

    fold: NDArray[np.uint32]
    kind: NDArray[np.uint8]
    count: NDArray[np.uint8]
    long: dict[int, list[int]]


def _expand(
    points: NDArray[np.uint32], places: Offsets, expands: NDArray[np.bool_], tables: _Tables
) -> tuple[NDArray[np.uint32], Offsets]:
    counts = tables.count[points].astype(np.int64)
    firsts = np.cumsum(counts) - counts
    wide, wide_places = np.repeat(points, counts), np.repeat(places, counts)
    for index in np.flatnonzero(expands):
        folded = tables.long[int(points[index])]
        wide[firsts[index] : firsts[index] + len(folded)] = folded
    return wide, wide_places


@lru_cache(maxsize=1)
def _tables() -> _Tables:
    import opencc

    singles = [chr(point) for point in range(1, _PLANES) if not 0xD800 <= point < 0xE000]
    folded = [unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", c).casefold()) for c in singles]
    simplified = opencc.OpenCC("t2s").convert("\x00".join(folded)).split("\x00")
    fold = np.arange(_PLANES, dtype=np.uint32)
    count = np.ones(_PLANES, dtype=np.uint8)
    long: dict[int, list[int]] = {}
    for single, target in zip(singles, simplified, strict=True):
        if len(target) == 1:
            fold[ord(single)] = ord(target)
        elif target:
            long[ord(single)] = [ord(c) for c in target]
            count[ord(single)] = len(target)
        else:
            fold[ord(single)] = 0
    kind = np.array([_kind(point) for point in range(_PLANES)], dtype=np.uint8)
    for first, last in _UNSPACED:
        inside = slice(first, min(last + 1, _PLANES))
        kind[inside] = np.where(kind[inside] == _LETTER, _CHARACTER, kind[inside])
    return _Tables(fold, kind, count, long)


def _kind(point: int) -> int:
    return _LETTER if unicodedata.category(chr(point))[0] in "LNM" else _SEPARATOR


assert sys.byteorder == "little", "token shards and hashes are little-endian"
