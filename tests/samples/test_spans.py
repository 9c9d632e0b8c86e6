"""Where blanks fall: laws at fixed seeds, and properties for any numbers."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glm130b.samples.spans import (
    clip_spans,
    draw_span_lengths,
    fit_window,
    place_spans,
    span_length_weights,
    spans_needed,
)


def chi_square(observed: np.ndarray, expected: np.ndarray) -> float:
    return float(((observed - expected) ** 2 / expected).sum())


def test_span_lengths_follow_the_renormalised_poisson_law() -> None:
    weights = span_length_weights(3.0, 39)
    assert weights.sum() == pytest.approx(1)
    assert (weights * np.arange(1, 40)).sum() == pytest.approx(3 / (1 - np.exp(-3)), rel=1e-9)  # 3.157
    count = 50_000
    drawn = draw_span_lengths(np.random.default_rng(0), weights, count)
    assert drawn.min() >= 1
    head = 10  # beyond it the classes are too rare for the test
    observed = np.bincount(np.minimum(drawn, head + 1), minlength=head + 2)[1:]
    expected = np.append(weights[:head], weights[head:].sum()) * count
    assert chi_square(observed, expected) < 29.6  # 99.9 % of the chi-square law with 10 degrees of freedom


def test_placement_is_uniform() -> None:
    lengths, window = np.array([2, 1, 3]), 12
    kept = window - lengths.sum()
    possible = list(itertools.combinations(range(kept + 1), len(lengths)))
    rng = np.random.default_rng(1)
    draws = 300 * len(possible)
    seen = Counter(tuple(place_spans(rng, lengths, window).tolist()) for _ in range(draws))
    assert len(seen) == len(possible) == 35
    assert chi_square(np.array(list(seen.values())), np.full(35, draws / 35)) < 65.2  # 99.9 %, 34 degrees


@given(st.integers(0, 2**32), st.lists(st.integers(1, 9), min_size=1, max_size=12), st.integers(0, 40))
def test_spans_never_touch(seed: int, lengths: list[int], spare: int) -> None:
    window = sum(lengths) + len(lengths) - 1 + spare
    starts = place_spans(np.random.default_rng(seed), np.array(lengths), window)
    assert len(starts) == len(lengths)
    assert starts[0] >= 0
    assert starts[-1] + lengths[-1] <= window
    ends = starts + np.array(lengths)
    assert (starts[1:] > ends[:-1]).all()


def test_spans_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="do not fit a window of 6"):
        place_spans(np.random.default_rng(0), np.array([3, 3]), 6)


@given(st.integers(0, 2**32), st.integers(2, 600), st.floats(0.01, 0.49))
def test_spans_are_drawn_until_the_budget_is_reached(seed: int, window: int, ratio: float) -> None:
    lengths = draw_span_lengths(np.random.default_rng(seed), span_length_weights(3.0, 39), window + 1)
    count = spans_needed(lengths, ratio, window)
    budget = max(1, int(ratio * window))
    assert lengths[:count].sum() >= budget > lengths[: count - 1].sum()


@given(st.integers(0, 2**32), st.integers(8, 300), st.integers(8, 300))
def test_the_window_is_the_longest_that_fits(seed: int, longest: int, room: int) -> None:
    lengths = draw_span_lengths(np.random.default_rng(seed), span_length_weights(3.0, 39), longest + 1)
    window, count = fit_window(lengths, 0.15, longest, room)
    assert window + 2 * count <= room
    assert window <= longest
    for larger in range(window + 1, min(longest, room - 2) + 1):
        assert larger + 2 * spans_needed(lengths, 0.15, larger) > room


@given(st.lists(st.integers(1, 39), min_size=1, max_size=80), st.integers(8, 200))
def test_clipped_spans_always_fit(lengths: list[int], window: int) -> None:
    clipped = clip_spans(np.array(lengths), window)
    assert (clipped >= 1).all()
    assert clipped.sum() <= max(len(clipped), window // 2)
    place_spans(np.random.default_rng(0), clipped, window)


def test_extreme_means_give_weights() -> None:
    for mean in (0.01, 2000.0):
        weights = span_length_weights(mean, 39)
        assert weights.sum() == pytest.approx(1)
        assert weights.argmax() == (38 if mean > 39 else 0)
