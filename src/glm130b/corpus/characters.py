"""What kinds of characters a text is made of."""

from __future__ import annotations

import unicodedata
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

BLANK, LATIN, HAN, KANA, HANGUL, OTHER, DIGIT, PUNCTUATION, SYMBOL = range(9)
"""Kinds. ``OTHER`` are the letters of all other scripts; marks that combine with a letter count as blank."""

_POINTS = 0x32000
_UNSHOWN = {"Cc", "Cf", "Cs", "Co"}
_SCRIPTS = {
    LATIN: ((0x0041, 0x024F), (0x1E00, 0x1EFF), (0x2C60, 0x2C7F), (0xA720, 0xA7FF), (0xFF21, 0xFF5A)),
    HAN: (
        (0x2E80, 0x2FDF),
        (0x3005, 0x3007),
        (0x3021, 0x3029),
        (0x3400, 0x4DBF),
        (0x4E00, 0x9FFF),
        (0xF900, 0xFAFF),
        (0x20000, 0x31FFF),
    ),
    KANA: ((0x3041, 0x30FF), (0x31F0, 0x31FF), (0xFF66, 0xFF9D)),
    HANGUL: ((0x1100, 0x11FF), (0x3131, 0x318E), (0xAC00, 0xD7A3)),
}
_CATEGORIES = {"Z": BLANK, "M": BLANK, "L": OTHER, "N": DIGIT, "P": PUNCTUATION, "S": SYMBOL, "C": SYMBOL}


def printable(text: str) -> str:
    """A text that can be shown: controls, format and private characters become U+FFFD, tabs and newlines blanks."""
    if text.isprintable():
        return text
    return "".join(
        " " if character in "\t\n" else "\ufffd" if unicodedata.category(character) in _UNSHOWN else character
        for character in text
    )


def kinds(text: str) -> NDArray[np.uint8]:
    """The kind of each character, uint8 ``[len(text)]``."""
    points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    return _table()[np.minimum(points, _POINTS - 1)]


def count_kinds(found: NDArray[np.uint8]) -> list[int]:
    """How often each kind is there, ``[9]``."""
    return [int(np.count_nonzero(found == kind)) for kind in range(SYMBOL + 1)]


@lru_cache(maxsize=1)
def _table() -> NDArray[np.uint8]:
    categories = (unicodedata.category(chr(point))[0] for point in range(_POINTS))
    table = np.fromiter((_CATEGORIES[category] for category in categories), dtype=np.uint8, count=_POINTS)
    table[[0x09, 0x0A, 0x0D]] = BLANK
    for script, ranges in _SCRIPTS.items():
        for first, last in ranges:
            inside = table[first : last + 1]
            inside[(inside == OTHER) | ((script == HAN) & (inside == DIGIT))] = script
    return table
