"""Where the blanks of a [MASK] window fall."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]


def span_length_weights(mean: float, longest: int) -> NDArray[np.float64]:
    """Poisson(``mean``) weights of 1 … ``longest``, renormalised."""
    lengths = range(1, longest + 1)
    logarithms = np.array([n * math.log(mean) - math.lgamma(n + 1) for n in lengths])
    weights = np.exp(logarithms - logarithms.max())
    normalised: NDArray[np.float64] = weights / weights.sum()
    return normalised


def draw_span_lengths(rng: np.random.Generator, weights: NDArray[np.float64], count: int) -> Integers:
    """``count`` independent span lengths."""
    return rng.choice(len(weights), size=count, p=weights).astype(np.int64) + 1


def spans_needed(lengths: Integers, ratio: float, window: int) -> int:
    """How many of ``lengths`` it takes until their sum reaches ``int(ratio * window)``; at least one, at most all."""
    budget = max(1, int(ratio * window))
    return min(int(np.searchsorted(np.cumsum(lengths), budget)) + 1, len(lengths))


def fit_window(lengths: Integers, ratio: float, longest: int, room: int) -> tuple[int, int]:
    """The longest window whose sample fits ``room`` tokens, and how many of ``lengths`` are its spans.

    A window of n tokens with k spans makes a sample of n + 2k: each span leaves a [MASK] in the context
    and gains a sop before its tokens.
    """
    for window in range(min(longest, room - 2), 1, -1):
        count = spans_needed(lengths, ratio, window)
        if window + 2 * count <= room:
            return window, count
    raise ValueError(f"no window fits {room} tokens")


def clip_spans(lengths: Integers, window: int) -> Integers:
    """Shorten spans, last first, until they leave a kept token between any two and half the window."""
    lengths = lengths[: max(1, window // 4)].copy()
    allowed = max(len(lengths), window // 2)
    for n in range(len(lengths) - 1, -1, -1):
        excess = int(lengths.sum()) - allowed
        if excess <= 0:
            break
        lengths[n] -= min(excess, int(lengths[n]) - 1)
    return lengths


def place_spans(rng: np.random.Generator, lengths: Integers, window: int) -> Integers:
    """Start of each span, uniform over all placements with a kept token between any two.

    Raises:
        ValueError: the spans do not fit.
    """
    kept = window - int(lengths.sum())
    if kept + 1 < len(lengths):
        raise ValueError(f"{len(lengths)} spans of {int(lengths.sum())} tokens do not fit a window of {window}")
    gaps = np.sort(rng.choice(kept + 1, size=len(lengths), replace=False))
    starts: Integers = gaps + np.concatenate(([0], np.cumsum(lengths)[:-1]))
    return starts
