"""A tokenizer whose words are numbers, and models to ask."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

from support import SPECIAL, TINY_SPECIAL

from glm130b.evaluation.identity import Identity
from glm130b.model import GLM
from glm130b.tokenization import SpecialTokens, Tokenizer


class Numbers(Tokenizer):
    """``10 11`` is the ids 10 and 11, and back."""

    name = "numbers"
    fingerprint = model_fingerprint = "numbers"

    def __init__(self, special: SpecialTokens, vocab_size: int) -> None:
        self.special, self.vocab_size = special, vocab_size

    def save(self, folder: str | Path) -> None:
        raise NotImplementedError

    def encode(self, text: str) -> list[int]:
        return [int(word) for word in text.split()]

    def piece(self, token_id: int) -> str:
        return str(token_id)

    def _speller(self, skip_special: bool) -> Callable[[int], bytes]:
        hidden = self.special.names() if skip_special else {}
        return lambda token: b"" if token in hidden else f" {token}".encode()


TINY_NUMBERS = Numbers(TINY_SPECIAL, 64)
REFERENCE_NUMBERS = Numbers(SPECIAL, 512)


def official(model: GLM) -> GLM:
    """The same model, to be asked as the authors ask theirs."""
    twin = copy.copy(model)
    twin.config = model.config.model_copy(update={"conventions": "official"})
    return twin


def identity(**facts: object) -> Identity:
    given = {"weights": "w", "tokenizer": "t", "precision": {}, "config": {}, "device": "cpu", **facts}
    return Identity(**given)  # type: ignore[arg-type]
