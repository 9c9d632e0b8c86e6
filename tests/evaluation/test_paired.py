"""Intervals of means, against closed values, against SciPy where it is there, and by their coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glm130b.evaluation import mean_interval, paired_changes, student_quantile


@pytest.mark.parametrize(
    ("probability", "freedom", "expected"),
    [
        (0.975, 1, 12.7062047),
        (0.975, 2, 4.30265273),
        (0.975, 9, 2.26215716),
        (0.975, 30, 2.04227246),
        (0.95, 5, 2.01504837),
        (0.995, 100, 2.62589052),
        (0.975, 1e9, 1.95996398),
        (0.5, 4, 0.0),
    ],
)
def test_quantiles_of_the_tables(probability: float, freedom: float, expected: float) -> None:
    assert student_quantile(probability, freedom) == pytest.approx(expected, rel=1e-5, abs=1e-9)


@settings(deadline=None)
@given(st.floats(0.5, 0.999), st.floats(1, 1e6))
def test_quantiles_of_scipy(probability: float, freedom: float) -> None:
    stats = pytest.importorskip("scipy.stats")
    expected = stats.t.ppf(probability, freedom)
    assert student_quantile(probability, freedom) == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_quantiles_that_are_not_there() -> None:
    for probability, freedom in ((0.4, 3), (1.0, 3), (0.9, 0.5)):
        with pytest.raises(ValueError, match="no quantile"):
            student_quantile(probability, freedom)


def test_one_stratum_is_the_paired_t_interval() -> None:
    """By hand: differences 1, 2, 3, 4, 5 have mean 3, variance 2.5, standard error sqrt(0.5); t(0.975, 4) is 2.776."""
    found = mean_interval([[1.0, 2.0, 3.0, 4.0, 5.0]])
    half = 2.77644511 * math.sqrt(0.5)
    assert (found.mean, found.low, found.high) == pytest.approx((3, 3 - half, 3 + half), rel=1e-5)


def test_strata_weigh_the_same_whatever_their_size() -> None:
    """Two strata as Welch has them for a difference of two means: half of it is the mean of one and minus the other."""
    stats = pytest.importorskip("scipy.stats")
    one, other = np.random.default_rng(1).normal(size=7), np.random.default_rng(2).normal(2, 3, size=19)
    expected = stats.ttest_ind(one, other, equal_var=False).confidence_interval()
    found = mean_interval([list(one), list(-other)])
    assert (found.low * 2, found.high * 2) == pytest.approx((expected.low, expected.high), rel=1e-4)
    assert found.mean == pytest.approx((one.mean() - other.mean()) / 2)


def test_intervals_hold_the_mean_as_often_as_they_say() -> None:
    draws = np.random.default_rng(3)
    held = 0
    for _ in range(400):
        found = mean_interval([list(draws.normal(1, 1, size=4)), list(draws.normal(3, 5, size=9))])
        held += found.low <= 2 <= found.high
    assert 0.91 < held / 400 < 0.985


def test_what_has_no_spread() -> None:
    found = mean_interval([[0.5, 0.5, 0.5]])
    assert (found.mean, found.low, found.high) == (0.5, 0.5, 0.5)
    found = mean_interval([[0.5, 0.7], [0.3]])
    assert (found.mean, found.low, found.high) == (pytest.approx(0.45), -math.inf, math.inf)
    for strata in ([], [[1.0], []]):
        with pytest.raises(ValueError, match="every stratum"):
            mean_interval(strata)


def test_changes_by_stratum_and_of_all() -> None:
    before = {"a/mask": [1.0, 2.0], "a/gmask": [3.0, 5.0, 4.0]}
    after = {"a/mask": [1.5, 2.25], "a/gmask": [3.0, 5.5, 4.0]}
    found = paired_changes(before, after)
    assert list(found) == ["a/mask", "a/gmask", "all"]
    mask, rest, everything = found.values()
    assert (mask.count, mask.before, mask.after) == (2, 1.5, 1.875)
    assert mask.difference == mean_interval([[0.5, 0.25]])
    assert (everything.count, everything.before, everything.after) == (5, 2.75, pytest.approx((1.875 + 12.5 / 3) / 2))
    assert everything.difference == mean_interval([[0.5, 0.25], [0.0, 0.5, 0.0]])
    assert everything.difference.mean == pytest.approx((mask.difference.mean + rest.difference.mean) / 2)
    for other in ({"a/mask": [1.0, 2.0]}, {"a/mask": [1.0], "a/gmask": [3.0, 5.0, 4.0]}):
        with pytest.raises(ValueError, match="same items"):
            paired_changes(before, other)
