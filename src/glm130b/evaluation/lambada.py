"""The authors' search for LAMBADA's last word (``tasks/lambada`` of their repository)."""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass

from glm130b.tokenization import Tokenizer

_ODD_QUOTES = frozenset("`´‘’‚‛“”„‟′″")
_SPACE_MARK = "\u2581"


@dataclass(frozen=True)
class Bans:
    """Ids that no answer holds, and beginnings that none has."""

    anywhere: tuple[int, ...]
    beginnings: tuple[tuple[int, ...], ...]


def lambada_bans(tokenizer: Tokenizer, *, joins_space: bool) -> Bans:
    """What the authors keep out of a last word.

    Odd quotes, and marks of ASCII punctuation that are one piece, are banned anywhere; what other marks are written
    with is banned as a beginning. The authors name three ids of icetk for the quotes; here they are the pieces of
    nothing but such marks, whatever the tokenizer.

    Args:
        joins_space: answers begin with a space, so that marks after one are banned as beginnings, too.
    """
    marks = [tuple(tokenizer.encode(mark)) for mark in string.punctuation]
    spaced = [tuple(tokenizer.encode(f" {mark}")) for mark in string.punctuation] if joins_space else []
    special = tokenizer.special.names()
    quotes = [token for token in range(tokenizer.vocab_size) if token not in special and _is_odd(tokenizer, token)]
    single = [mark[0] for mark in marks if len(mark) == 1]
    return Bans(tuple(sorted({*quotes, *single})), tuple(dict.fromkeys([*marks, *spaced])))


def _is_odd(tokenizer: Tokenizer, token: int) -> bool:
    text = tokenizer.piece(token).strip(_SPACE_MARK)
    return text == "''" or (text != "" and _ODD_QUOTES.issuperset(text))


def last_word(texts: Sequence[str]) -> int:
    """Which of the beams, best first, holds the answer: the first with punctuation for a second word, or the best."""
    for number, text in enumerate(texts):
        words = text.strip().split(" ")
        if len(words) > 1 and words[1] in string.punctuation:
            return number
    return 0
