"""Who carries out one step of decoding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from torch import Tensor

from glm130b.inference.graph import graph_stepper
from glm130b.inference.native import native
from glm130b.model import GLM, KVCache


class Stepper(Protocol):
    """Reads one token a row into the cache it was made for."""

    def __call__(self, columns: Tensor) -> Tensor:
        """Read the tokens, which take the cache's next slot, and return logits.

        Args:
            columns: int64 ``[4, B, 1]``: the model's ``tokens, position_ids, sample, branch``. A position is not
                the slot: answers to a [MASK] repeat one, and rows may be padded.

        Returns:
            ``[B, V]``, for each row's next token. It may be overwritten by the next step.
        """

    def ahead(self, columns: Tensor) -> Tensor:
        """Read several tokens of one row, ``[4, 1, S]``; returns ``[S, V]``, for what follows each of them."""


class Plain:
    """The model itself; takes any model and cache, and is what the others are compared with."""

    def __init__(self, model: GLM, cache: KVCache) -> None:
        self._model, self._cache = model, cache

    def __call__(self, columns: Tensor) -> Tensor:
        """See ``Stepper``."""
        logits: Tensor = self._model(*columns, cache=self._cache)
        return logits[:, 0]

    def ahead(self, columns: Tensor) -> Tensor:
        """See ``Stepper``."""
        logits: Tensor = self._model(*columns, cache=self._cache)
        return logits[0]


CANDIDATES: list[Callable[[GLM, KVCache], Stepper | None]] = [graph_stepper, native, Plain]
"""Fastest first; one that cannot serve this model and cache returns None."""


def make_stepper(model: GLM, cache: KVCache) -> Stepper:
    """The fastest stepper there is for this model and cache.

    Its cache may grow and be truncated meanwhile; after ``KVCache.take`` has changed the number of rows, another
    has to be made.
    """
    return next(stepper for make in CANDIDATES if (stepper := make(model, cache)) is not None)
