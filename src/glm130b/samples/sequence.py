"""Samples packed into one sequence of fixed length."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from glm130b.samples.blank import NO_TARGET, Sample
from glm130b.samples.spans import Integers

PADDING = -1


@dataclass(frozen=True)
class Sequence:
    """One row of a batch; all arrays int64 ``[seq_length]``.

    Attributes:
        tokens, position_ids, sample, branch: the model's inputs; ``sample`` is -1 on padding.
        targets: the token to predict at each place, -1 where there is none.
    """

    tokens: Integers
    position_ids: Integers
    sample: Integers
    branch: Integers
    targets: Integers

    @property
    def num_targets(self) -> int:
        """Places with a token to predict."""
        return int((self.targets != NO_TARGET).sum())


def pack(samples: Iterable[Sample], slot_length: int, seq_length: int) -> Sequence:
    """Lay samples out in slots of ``slot_length``, padding each; they do not see one another."""
    tokens = np.zeros(seq_length, dtype=np.int64)
    position_ids, branch = np.zeros_like(tokens), np.zeros_like(tokens)
    sample = np.full(seq_length, PADDING, dtype=np.int64)
    targets = np.full(seq_length, NO_TARGET, dtype=np.int64)
    for number, content in enumerate(samples):
        place = slice(number * slot_length, number * slot_length + len(content))
        if len(content) > slot_length or place.stop > seq_length:
            raise ValueError(f"a sample of {len(content)} tokens does not fit slot {number} of {slot_length}")
        tokens[place], position_ids[place] = content.tokens, content.position_ids
        branch[place], targets[place], sample[place] = content.branch, content.targets, number
    return Sequence(tokens, position_ids, sample, branch, targets)
