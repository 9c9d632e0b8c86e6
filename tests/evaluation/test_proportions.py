"""Intervals and tests of shares: printed values, SciPy where it is there, and how often they hold the true share."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glm130b.evaluation.statistics import (
    at_least,
    effective_count,
    exact_interval,
    mean_of_shares,
    normal_two_sided,
    paired_difference,
    two_shares,
    wilson_interval,
)


def test_intervals_of_148_in_160() -> None:
    assert wilson_interval(148, 160) == pytest.approx((0.8734917310, 0.9565790031), abs=1e-9)
    assert exact_interval(148, 160) == pytest.approx((0.8726553063, 0.9606472733), abs=1e-9)


def test_intervals_of_all_and_none() -> None:
    """With all right the exact low end is (0.05 / 2) to the power of 1/n."""
    assert exact_interval(10, 10) == pytest.approx((0.025**0.1, 1.0), abs=1e-9)
    assert exact_interval(0, 10) == pytest.approx((0.0, 1 - 0.025**0.1), abs=1e-9)
    assert exact_interval(1, 1) == pytest.approx((0.025, 1.0), abs=1e-9)
    assert wilson_interval(10, 10) == pytest.approx((10 / (10 + 1.959963985**2), 1.0))
    assert wilson_interval(0, 10)[0] == 0.0


@settings(deadline=None)
@given(st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.floats(0.5, 0.999))
def test_intervals_of_scipy(counts: tuple[int, int], confidence: float) -> None:
    stats = pytest.importorskip("scipy.stats")
    found = stats.binomtest(*counts)
    wilson = found.proportion_ci(confidence, method="wilson")
    exact = found.proportion_ci(confidence, method="exact")
    assert wilson_interval(*counts, confidence) == pytest.approx((wilson.low, wilson.high), abs=1e-9)
    assert exact_interval(*counts, confidence) == pytest.approx((exact.low, exact.high), abs=1e-8)


@given(st.integers(1, 60), st.integers(-1, 61), st.floats(0.001, 0.999))
def test_binomial_tails_are_sums(count: int, right: int, share: float) -> None:
    slow = math.fsum(
        math.comb(count, k) * share**k * (1 - share) ** (count - k) for k in range(max(0, right), count + 1)
    )
    assert at_least(right, count, share) == pytest.approx(slow, abs=1e-11)


@pytest.mark.parametrize("share", [0.02, 0.1, 0.37, 0.5, 0.9])
def test_how_often_intervals_hold_the_share(share: float) -> None:
    """Summed over all outcomes; the exact interval never fails more often than it says."""

    def coverage(interval: object, count: int) -> float:
        chances = [at_least(k, count, share) - at_least(k + 1, count, share) for k in range(count + 1)]
        ends = [interval(k, count) for k in range(count + 1)]  # type: ignore[operator]
        return math.fsum(chance for chance, (low, high) in zip(chances, ends, strict=True) if low <= share <= high)

    assert coverage(exact_interval, 25) >= 0.95
    assert 0.93 < coverage(wilson_interval, 300) < 0.975


def test_shares_that_are_none() -> None:
    for right, count in ((1, 0), (-1, 5), (6, 5), (math.nan, 5)):
        for interval in (wilson_interval, exact_interval):
            with pytest.raises(ValueError, match="no share"):
                interval(right, count)


@given(st.lists(st.booleans(), min_size=2, max_size=50))
def test_repeating_each_item_adds_nothing(right: list[bool]) -> None:
    """Every item three times over tells as much as once, whatever the items."""
    once = effective_count([float(one) for one in right], [1.0] * len(right))
    thrice = effective_count([3.0 * one for one in right], [3.0] * len(right))
    assert thrice == pytest.approx(once)


@given(st.lists(st.integers(1, 6).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), min_size=1, max_size=40))
def test_clusters_tell_no_more_than_their_units(clusters: list[tuple[int, int]]) -> None:
    right, sizes = (list(map(float, column)) for column in zip(*clusters, strict=True))
    count = effective_count(right, sizes)
    assert 1 <= count <= sum(sizes)
    if sum(right) in (0, sum(sizes)):
        assert count == len(sizes)


@pytest.mark.parametrize("clusters", [12, 60])
def test_clusters_widen_an_interval_by_what_is_needed(clusters: int) -> None:
    """Shares differ from cluster to cluster, and four of five units follow their cluster's."""
    draws = np.random.default_rng(1)
    held = naive = 0
    for _ in range(600):
        inside = draws.beta(2, 2, clusters)
        right = draws.binomial(8, inside).astype(float)
        count = effective_count(list(right), [8.0] * clusters)
        share = float(right.sum()) / 8 / clusters
        low, high = wilson_interval(share * count, count)
        held += low <= 0.5 <= high
        low, high = wilson_interval(right.sum(), 8 * clusters)
        naive += low <= 0.5 <= high
    assert 0.925 < held / 600 < 0.985
    assert naive / 600 < 0.85


def test_the_mean_of_shares() -> None:
    assert mean_of_shares([0.4], [(0.3, 0.55)]) == pytest.approx((0.3, 0.55))
    low, high = mean_of_shares([1.0] * 4, [exact_interval(20, 20)] * 4)
    assert high == 1.0
    assert low == pytest.approx(1 - (1 - exact_interval(20, 20)[0]) / 2)


def test_the_mean_of_shares_holds_the_true_one() -> None:
    draws = np.random.default_rng(2)
    shares, sizes = np.array([0.2, 0.9, 0.6, 0.5]), np.array([20, 35, 80, 15])
    held = 0
    for _ in range(600):
        right = draws.binomial(sizes, shares)
        intervals = [wilson_interval(r, n) for r, n in zip(right, sizes, strict=True)]
        low, high = mean_of_shares(list(right / sizes), intervals)
        held += low <= shares.mean() <= high
    assert 0.925 < held / 600 < 0.985


def test_two_shares_of_the_audit() -> None:
    assert two_shares(148, 160, 142, 160) == pytest.approx((1.1507119236, 0.2498507695), abs=1e-9)
    assert two_shares(182, 202, 176, 202) == pytest.approx((0.9397698414, 0.3473356316), abs=1e-9)
    assert two_shares(5, 5, 7, 7) == (0.0, 1.0)


@given(st.floats(-8, 8))
def test_the_normal_tail_of_scipy(z: float) -> None:
    stats = pytest.importorskip("scipy.stats")
    assert normal_two_sided(z) == pytest.approx(2 * stats.norm.sf(abs(z)), rel=1e-9)


def test_paired_differences_hold_the_true_one() -> None:
    """60 questions; 15 % only the first answers right, 5 % only the second."""
    draws = np.random.default_rng(3)
    held = 0
    for only_first, only_second, _ in draws.multinomial(60, [0.15, 0.05, 0.8], size=1000):
        low, high = paired_difference(only_first, only_second, 60)
        held += low <= -0.1 <= high
    assert 0.925 < held / 1000 < 0.985


def test_a_paired_difference_by_hand() -> None:
    """One pair is added to each cell: (2 + 1)/102 and (6 + 1)/102."""
    first, second = 3 / 102, 7 / 102
    half = 1.959963985 * math.sqrt((first + second - (second - first) ** 2) / 102)
    assert paired_difference(2, 6, 100) == pytest.approx((second - first - half, second - first + half))
    low, high = paired_difference(0, 0, 50)
    assert low == -high < 0
