"""Counted FLOPs against PyTorch's counter and a pair-by-pair count."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from support import TINY
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from glm130b.config import load_config
from glm130b.model import build_model
from glm130b.model.attention import make_visibility
from glm130b.planning import Work, forward_flops, parameter_count, training_flops
from glm130b.samples import Sequence
from glm130b.training.batch import work_of


def test_the_formula_equals_the_counter() -> None:
    tokens = torch.zeros(2, 16, dtype=torch.long)
    model = build_model(TINY, seed=0)
    model.attention_backend = "sdpa"
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(tokens, tokens, tokens, tokens)
    # In a bidirectional context every pair is visible.
    assert counter.get_total_flops() == forward_flops(TINY, Work(tokens=32, pairs=2 * 16 * 16, targets=32))


def test_the_papers_figures() -> None:
    model = load_config("130b").run.model
    assert parameter_count(model) == 128_697_794_560
    step = Work(tokens=2048, pairs=2048 * 2048, targets=2048)
    assert abs(training_flops(model, step) * 4224 / 6.862e18 - 1) < 1e-3


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(0, 5)), min_size=1, max_size=4))
def test_visible_pairs(parts: list[tuple[int, int]]) -> None:
    """Closed form against the mask itself."""
    sample = np.concatenate([np.full(context + answer, n) for n, (context, answer) in enumerate(parts)] + [[-1]])
    branch = np.concatenate([np.repeat([0, 1], part) for part in parts] + [[0]])
    targets = np.where(branch == 1, 5, -1)
    work = work_of([Sequence(sample, sample, sample, branch, targets)])
    mask = make_visibility(torch.tensor(sample)[None], torch.tensor(branch)[None], backend="sdpa").mask
    assert mask is not None
    assert work.pairs == int(mask[0, 0, :-1, :-1].sum())
    assert work.tokens == len(sample) - 1
    assert work.targets == int((branch == 1).sum())
