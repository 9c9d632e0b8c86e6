"""Instruction samples: layout, truncation, options."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from support import SPECIAL

from glm130b.config import ObjectiveConfig
from glm130b.samples import NO_TARGET, instruction_sample

PLAIN = ObjectiveConfig()


def ids(start: int, count: int) -> np.ndarray:
    return np.arange(start, start + count)


def test_layout() -> None:
    sample = instruction_sample(ids(10, 3), ids(50, 2), 64, PLAIN, SPECIAL)
    assert sample.tokens.tolist() == [10, 11, 12, SPECIAL.mask, SPECIAL.sop, 50, 51]
    assert sample.targets.tolist() == [NO_TARGET] * 4 + [50, 51, SPECIAL.eop]
    assert sample.position_ids.tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert sample.branch.tolist() == [0, 0, 0, 0, 1, 1, 1]


def test_options() -> None:
    repeated = ObjectiveConfig(instruction_positions="repeated", instruction_gmask_above=2)
    assert instruction_sample(ids(10, 3), ids(50, 2), 64, repeated, SPECIAL).position_ids.tolist() == [
        0,
        1,
        2,
        *[3] * 4,
    ]
    for length, mask in ((2, SPECIAL.mask), (3, SPECIAL.gmask)):
        assert instruction_sample(ids(10, 3), ids(50, length), 64, repeated, SPECIAL).tokens[3] == mask


@given(st.integers(0, 200), st.integers(1, 200), st.integers(16, 100))
def test_truncation(num_prompt: int, num_answer: int, window: int) -> None:
    """Step by step: first the prompt gives way down to a quarter of the window, then the answer."""
    prompt, answer = list(range(1000, 1000 + num_prompt)), list(range(2000, 2000 + num_answer))
    sample = instruction_sample(np.array(prompt, dtype=np.int64), np.array(answer), window, PLAIN, SPECIAL)
    while len(prompt) + len(answer) + 2 > window and len(prompt) > int(0.25 * window):
        prompt.pop()
    whole = len(prompt) + len(answer) + 2 <= window
    while len(prompt) + len(answer) + 2 > window:
        answer.pop()
    assert sample.tokens.tolist() == [*prompt, SPECIAL.mask, SPECIAL.sop, *answer]
    targets = [target for target in sample.targets.tolist() if target != NO_TARGET]
    assert targets == answer + [SPECIAL.eop] * whole
    assert (np.flatnonzero(sample.targets != NO_TARGET) == len(prompt) + 1 + np.arange(len(targets))).all()
