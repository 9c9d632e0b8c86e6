"""Mixed Chinese and other text to segments, as the official scorer of CMRC2018 (version 5) does it."""

from __future__ import annotations

import re

PUNCTUATION = frozenset("-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』")
"""What the scorer takes out of answers. It lists the two characters ``……`` too, but compares one at a time."""

_CHINESE = re.compile(r"([\u4e00-\u9fa5])")
_MARKS = r"\[\](){}<>;@#$%&?!*\"`«»“”‘’„\u2012-\u2015"
_LAST = r"[\])}>\"'»”’\s]*$"
_WORD = re.compile(rf"\.{{2,}}|[{_MARKS}]|[,:](?!\d)|\.(?={_LAST})|(?:[^\s{_MARKS},:.]|[,:](?=\d)|\.(?!\.|{_LAST}))+")
"""Dots, a mark, a comma outside numbers, the last full stop, or all up to one of them."""
_ENDING = re.compile(r"(?<=.)(n't|'(?:s|m|d|ll|re|ve)|')$")


def without_punctuation(text: str) -> str:
    """An answer as exact match compares it: in lower case, stripped, without ``PUNCTUATION``."""
    return "".join(c for c in text.lower().strip() if c not in PUNCTUATION)


def segments(text: str) -> list[str]:
    """An answer as F1 compares it: each Chinese character, and the words of what is between them.

    Words are cut by the rules of the Penn Treebank, without those for slang (``gonna``) and without looking for the
    ends of sentences inside.
    """
    parts = _CHINESE.split(without_punctuation(text))
    return [one for n, part in enumerate(parts) for one in ([part] if n % 2 else words(part))]


def words(text: str) -> list[str]:
    """Text without Chinese cut into words, numbers and marks."""
    return [piece for word in _WORD.findall(text) for piece in _ENDING.split(word) if piece]
