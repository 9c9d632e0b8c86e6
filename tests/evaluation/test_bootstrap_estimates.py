"""Which interval an estimate gets, and that none of them claims what it cannot know."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glm130b.evaluation.items import Unit
from glm130b.evaluation.metrics import METRICS, Metric, ratio
from glm130b.evaluation.statistics import (
    Aggregate,
    effect_unpaired,
    estimate,
    exact_interval,
    mean_of_shares,
    value_of,
    wilson_interval,
)

ACCURACY = METRICS["accuracy"]
PERPLEXITY = Metric("ppl", "perplexity", lambda _: [], lambda sums: np.exp(ratio(sums)), better="lower", percent=False)


def answers(right: int, count: int, *, per_cluster: int = 1, groups: int = 1) -> list[Unit]:
    return [Unit(str(n), str(n // per_cluster), str(n % groups), (float(n < right), 1.0)) for n in range(count)]


def test_few_independent_answers_have_an_exact_interval() -> None:
    found = estimate(answers(120, 160), ACCURACY)
    assert (found.value, found.low, found.high) == (0.75, *exact_interval(120, 160))
    assert (found.method, found.units, found.clusters) == ("exact", 160, 160)
    assert found.minimal_effect == pytest.approx(effect_unpaired(0.75, 160), rel=0.01)


def test_many_have_wilsons() -> None:
    found = estimate(answers(600, 1000), ACCURACY)
    assert (found.low, found.high, found.method) == (*wilson_interval(600, 1000), "wilson")


def test_clusters_make_it_wider() -> None:
    """Three copies of each question tell as much as one."""
    copied = estimate([Unit(str(n), str(n // 3), "", (float(n < 900), 1.0)) for n in range(1500)], ACCURACY)
    assert (copied.method, copied.clusters, copied.value) == ("wilson (clusters)", 500, 0.6)
    assert copied.high - copied.low == pytest.approx(np.subtract(*wilson_interval(300, 500)[::-1]), rel=0.01)


def test_the_mean_over_groups_puts_intervals_together() -> None:
    units = [
        Unit(f"{g}{n}", f"{g}{n}", g, (float(n < r), 1.0))
        for g, r, c in (("a", 9, 10), ("b", 40, 80))
        for n in range(c)
    ]
    found = estimate(units, ACCURACY, "macro")
    expected = mean_of_shares([0.9, 0.5], [exact_interval(9, 10), exact_interval(40, 80)])
    assert (found.value, found.low, found.high) == pytest.approx((0.7, *expected))
    assert found.method == "exact by group"
    assert value_of(units, ACCURACY, "macro") == pytest.approx(0.7)
    assert value_of(units, ACCURACY) == pytest.approx(49 / 90)


@pytest.mark.parametrize("aggregate", ["micro", "macro"])
@pytest.mark.parametrize("right", [0, 24])
@pytest.mark.parametrize(("per_cluster", "groups"), [(1, 1), (1, 3), (4, 1), (4, 3), (24, 1), (24, 3)])
def test_all_right_is_not_certain(aggregate: Aggregate, right: int, per_cluster: int, groups: int) -> None:
    """Also where clusters have units of several groups."""
    found = estimate(answers(right, 24, per_cluster=per_cluster, groups=groups), ACCURACY, aggregate)
    assert found.value == right / 24
    assert (found.low, found.high) == pytest.approx((found.low, 1.0) if right else (0.0, found.high))
    assert found.high - found.low > 0.1


def test_one_unit() -> None:
    found = estimate(answers(1, 1), ACCURACY)
    assert (found.value, found.low, found.high) == pytest.approx((1.0, 0.025, 1.0))
    document = estimate([Unit("0", "0", "", (200.0, 100.0))], PERPLEXITY)
    assert document.value == pytest.approx(math.exp(2))
    assert (document.method, math.isnan(document.low), math.isnan(document.minimal_effect)) == ("none", True, True)


def test_nothing_and_the_undefined() -> None:
    for units in ([], [Unit("0", "0", "", (1.0, 0.0))], [Unit("0", "0", "", (math.nan, 1.0))]):
        found = estimate(units, PERPLEXITY)
        assert all(map(math.isnan, (found.value, found.low, found.high)))
        assert (found.units, found.method) == (len(units), "none")
    assert math.isnan(value_of([], ACCURACY))


def test_partly_right_answers_are_bootstrapped() -> None:
    draws = np.random.default_rng(1)
    scores = draws.beta(2, 1, 400)
    found = estimate([Unit(str(n), str(n), "", (float(s), 1.0)) for n, s in enumerate(scores)], ACCURACY)
    assert found.method == "cluster bootstrap (BCa)"
    half = 1.96 * scores.std(ddof=1) / 20
    assert (found.low, found.high) == pytest.approx((scores.mean() - half, scores.mean() + half), abs=0.004)


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 5), st.sampled_from("xy"), st.sampled_from([0.0, 0.3, 1.0]), st.sampled_from([0.0, 1.0])
        ),
        max_size=14,
    ),
    st.sampled_from(["micro", "macro"]),
    st.sampled_from([replace(ACCURACY, bounds=(-math.inf, math.inf)), PERPLEXITY]),
)
def test_whatever_comes_an_interval_has_a_width_or_is_none(
    rows: list[tuple[int, str, float, float]], aggregate: Aggregate, metric: Metric
) -> None:
    units = [Unit(str(n), str(c), g, (a, b)) for n, (c, g, a, b) in enumerate(rows)]
    found = estimate(units, metric, aggregate, replicates=50)
    if math.isnan(found.value):
        assert math.isnan(found.low)
    elif not math.isnan(found.low):
        assert found.low < found.high
        assert found.low <= found.value <= found.high or "bootstrap" in found.method
