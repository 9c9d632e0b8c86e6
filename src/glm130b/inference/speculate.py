"""Guesses of how an answer goes on, taken from the text itself, for the model to confirm several at a time.

(Prompt lookup: Saxena 2023; the confirmation as in Leviathan et al. 2023, arXiv:2211.17192, but with the draws
fixed beforehand, so that the answer is the same as without guesses.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from glm130b.errors import ConfigError
from glm130b.inference.context import Context

MAX_GUESSES = 64
_LENGTHS = (3, 2)
"""Of the n-grams that are looked up, the longest first."""
_BORDER = -1
"""Between the text after the blank and the text before it: no token, so no n-gram or guess crosses it."""


@dataclass
class Speculation:
    """How far to guess ahead, and how well it went.

    Attributes:
        tokens: guesses at a time, 1 to 64.
        guessed, right: how many there were in all answers so far, and how many of them the model chose too.
    """

    tokens: int
    guessed: int = 0
    right: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.tokens <= MAX_GUESSES:
            raise ConfigError(
                f"Cannot guess {self.tokens} tokens ahead.", f"Give a number between 1 and {MAX_GUESSES}, or none."
            )


class PromptLookup:
    """A text that grows, and where each of its n-grams was last followed by something.

    The answer is taken to follow the text before its blank directly, without [gMASK] and sop between them.
    """

    def __init__(self, context: Context) -> None:
        """Start with the context's text and an empty answer."""
        self._text: list[int] = []
        self._after: dict[tuple[int, ...], int] = {}
        for token in (*context.tokens[context.blank + 1 : -1], _BORDER, *context.tokens[: context.blank]):
            self.append(token)

    def append(self, token: int) -> None:
        """The answer goes on with this token."""
        for n in _LENGTHS:
            if len(self._text) >= n:
                self._after[tuple(self._text[-n:])] = len(self._text)
        self._text.append(token)

    def guess(self, count: int) -> list[int]:
        """What followed when the last tokens last occurred: ``count`` tokens, or fewer, or none.

        Where that runs into the end of the text, it goes on with the guesses: what repeats goes on repeating.
        """
        start = next((self._after[key] for n in _LENGTHS if (key := tuple(self._text[-n:])) in self._after), None)
        guesses: list[int] = []
        while start is not None and len(guesses) < count:
            place = start + len(guesses)
            token = self._text[place] if place < len(self._text) else guesses[place - len(self._text)]
            if token == _BORDER:
                break
            guesses.append(token)
        return guesses


def num_right(guesses: Sequence[int], chosen: Sequence[int]) -> int:
    """How many guesses the model chose as well, up to the first that it did not."""
    return next(
        (n for n, (guess, token) in enumerate(zip(guesses, chosen, strict=False)) if guess != token), len(guesses)
    )
