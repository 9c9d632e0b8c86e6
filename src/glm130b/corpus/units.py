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
    """Fold ``text`` and cut it into units, in memory of about 24 bytes a unit."""
    parts: list[Units] = []
    start = 0
    while start < len(text) or not parts:
        end = _separator(text, start)
        parts.append(_block_units(text[start:end], start))
        start = end
    if len(parts) == 1:
        return parts[0]
    hashes, starts, ends = (np.concatenate([getattr(part, name) for part in parts]) for name in _ARRAYS)
    return Units(hashes, starts, ends, sum(part.num_characters for part in parts))


_BLOCK = 1 << 18
_ARRAYS = ("hashes", "starts", "ends")


def _separator(text: str, start: int) -> int:
    """Where a block that begins at ``start`` may end without cutting a word."""
    if len(text) - start <= _BLOCK:
        return len(text)
    found = max(text.rfind(mark, start + 1, start + _BLOCK) for mark in " \n。，")
    if found < 0:
        later = [place for mark in " \n。，" if (place := text.find(mark, start + _BLOCK)) >= 0]
        found = min(later, default=len(text))
    return found


def _block_units(text: str, offset: int) -> Units:
    points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    tables = _tables()
    places = np.arange(offset, offset + len(points), dtype=np.int64)
    values = tables.values[np.where(points < _PLANES, points, np.uint32(0))]
    if (expands := values == _LONG).any():
        values, places = _expand(points, values, places, expands, tables)
    is_character = (values & np.uint64(1)).astype(bool)
    is_letter = (values != 0) & ~is_character
    begins, finishes = is_letter.copy(), is_letter.copy()
    begins[1:] &= ~is_letter[:-1]
    finishes[:-1] &= ~is_letter[1:]
    starts, lasts = np.flatnonzero(begins | is_character), np.flatnonzero(finishes | is_character)
    return Units(
        _word_hashes(values, starts, lasts - starts + 1), places[starts], places[lasts] + 1, int(is_character.sum())
    )


def scramble(values: Hashes) -> Hashes:
    """The finaliser of SplitMix64, a bijection that spreads every bit."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: Hashes = values ^ (values >> np.uint64(31))
    return mixed


_NGRAM_BASE = np.uint64(0x9E3779B97F4A7C15)
_WORD_BASE = np.uint64(0xD6E8FEB86659FD93)
_LONG = np.uint64(3)
"""Stands for a code point that folds to several."""

_LONGEST_WORD = 64
"""Letters of a word that count; a longer run is no word."""


def _word_hashes(values: Hashes, starts: Offsets, lengths: Offsets) -> Hashes:
    """Polynomial hash of each word, the next letter of all words at once."""
    hashes = values[starts]
    rows = np.flatnonzero(lengths > 1)
    for place in range(1, _LONGEST_WORD):
        if not len(rows):
            break
        hashes[rows] = hashes[rows] * _WORD_BASE + values[starts[rows] + place]
        rows = rows[lengths[rows] > place + 1]
    return scramble(hashes)


@dataclass(frozen=True)
class _Tables:
    """What code points are folded and hashed to.

    Attributes:
        values: by code point, 0 if it separates; odd if it is a unit by itself, else even; 3 if it folds to
            several code points.
        long: what these fold to, hashed.
    """

    values: Hashes
    long: dict[int, Hashes]


def _expand(
    points: NDArray[np.uint32], values: Hashes, places: Offsets, expands: NDArray[np.bool_], tables: _Tables
) -> tuple[Hashes, Offsets]:
    counts = np.ones(len(points), dtype=np.int64)
    where = np.flatnonzero(expands)
    folded = [tables.long[int(points[index])] for index in where]
    counts[where] = [len(values) for values in folded]
    firsts = np.cumsum(counts) - counts
    wide, wide_places = np.repeat(values, counts), np.repeat(places, counts)
    for first, hashed in zip(firsts[where], folded, strict=True):
        wide[first : first + len(hashed)] = hashed
    return wide, wide_places


@lru_cache(maxsize=1)
def _tables() -> _Tables:
    import opencc

    singles = [chr(point) for point in range(1, _PLANES) if not 0xD800 <= point < 0xE000]
    folded = [unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", c).casefold()) for c in singles]
    simplified = opencc.OpenCC("t2s").convert("\x00".join(folded)).split("\x00")
    hashed = _hashed()
    values, long = np.zeros(_PLANES, dtype=np.uint64), {}
    for single, target in zip(singles, simplified, strict=True):
        if len(target) > 1:
            values[ord(single)] = _LONG
            long[ord(single)] = hashed[[ord(c) for c in target]]
        elif target:
            values[ord(single)] = hashed[ord(target)]
    return _Tables(values, long)


def _hashed() -> Hashes:
    """By code point that is folded already: 0, an even or an odd number."""
    kind = np.array([_kind(point) for point in range(_PLANES)], dtype=np.uint8)
    for first, last in _UNSPACED:
        inside = slice(first, min(last + 1, _PLANES))
        kind[inside] = np.where(kind[inside] == _LETTER, _CHARACTER, kind[inside])
    mixed = scramble(np.arange(1, _PLANES + 1, dtype=np.uint64)) | np.uint64(2)
    parity = (kind == _CHARACTER).astype(np.uint64)
    return np.where(kind == _SEPARATOR, np.uint64(0), (mixed | np.uint64(1)) ^ (np.uint64(1) - parity))


def _kind(point: int) -> int:
    return _LETTER if unicodedata.category(chr(point))[0] in "LNM" else _SEPARATOR


assert sys.byteorder == "little", "token shards and hashes are little-endian"
