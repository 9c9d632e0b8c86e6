"""Scores among fixed classes against slow versions that count."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from asking import choose, question, value
from hypothesis import given
from hypothesis import strategies as st

from glm130b.errors import ConfigError
from glm130b.evaluation.items import Chosen, Item, Question
from glm130b.evaluation.metrics import METRICS

pairs = st.integers(2, 4).flatmap(
    lambda classes: st.lists(
        st.tuples(st.integers(0, classes - 1), st.integers(0, classes - 1)), min_size=1, max_size=30
    ).map(lambda found: (classes, found))
)
"""Number of classes, and right and chosen class of each item."""


def outcomes(classes: int, found: Sequence[tuple[int, int]]) -> list[Chosen]:
    return [choose(question(right, classes, name=str(n)), chosen) for n, (right, chosen) in enumerate(found)]


def slow_f1(found: Sequence[tuple[int, int]], of: int) -> float:
    both = sum(right == chosen == of for right, chosen in found)
    missed = sum(right == of != chosen for right, chosen in found)
    wrong = sum(chosen == of != right for right, chosen in found)
    if not both + missed + wrong:
        return math.nan
    return both / (both + (missed + wrong) / 2)


def slow_correlation(found: Sequence[tuple[int, int]], classes: int) -> float:
    """Of one-hot vectors, which is how R_K is defined."""
    right = np.eye(classes)[[pair[0] for pair in found]]
    chosen = np.eye(classes)[[pair[1] for pair in found]]

    def covariance(first: np.ndarray, second: np.ndarray) -> float:
        return float(((first - first.mean(0)) * (second - second.mean(0))).sum())

    spread = math.sqrt(covariance(right, right) * covariance(chosen, chosen))
    return covariance(right, chosen) / spread if spread > 1e-12 else 0.0


@given(pairs)
def test_scores_are_those_of_counting(given_pairs: tuple[int, list[tuple[int, int]]]) -> None:
    classes, found = given_pairs
    given_outcomes = outcomes(classes, found)
    f1s = [slow_f1(found, n) for n in range(classes)]
    assert value("f1_binary", given_outcomes) == pytest.approx(f1s[1], nan_ok=True)
    assert value("f1_macro", given_outcomes) == pytest.approx(np.nanmean(f1s))
    assert value("f1_micro", given_outcomes) == pytest.approx(np.mean([right == chosen for right, chosen in found]))
    assert value("mcc", given_outcomes) == pytest.approx(slow_correlation(found, classes), abs=1e-9)


def test_known_values() -> None:
    found = [(1, 1)] * 90 + [(1, 0)] * 5 + [(0, 1)] * 4 + [(0, 0)]
    given_outcomes = outcomes(2, found)
    assert value("f1_binary", given_outcomes) == pytest.approx(2 * 90 / (2 * 90 + 9))
    assert value("mcc", given_outcomes) == pytest.approx((90 * 1 - 5 * 4) / math.sqrt(95 * 94 * 5 * 6))


def test_a_class_that_neither_occurs_nor_is_chosen_does_not_count() -> None:
    assert value("f1_macro", outcomes(3, [(0, 0), (1, 1)])) == 1.0
    assert math.isnan(value("f1_binary", outcomes(3, [(0, 0), (2, 2)])))


def test_choosing_always_the_same_correlates_with_nothing() -> None:
    assert value("mcc", outcomes(2, [(0, 1), (1, 1), (1, 1)])) == 0.0


@pytest.mark.parametrize("name", ["f1_binary", "f1_macro", "f1_micro", "mcc"])
def test_many_sums_at_once_are_each_by_itself(name: str) -> None:
    sums = np.random.default_rng(0).integers(0, 5, (7, 3, 9)).astype(float)
    together = METRICS[name].value(sums)
    assert together.shape == (7, 3)
    assert together == pytest.approx(np.array([[METRICS[name].value(one) for one in row] for row in sums]), nan_ok=True)
    assert not METRICS[name].is_ratio


def test_several_right_options_are_no_classes() -> None:
    asked = Question(Item("both", {}, labels=(0, 1)), "p", 0, "t", ("a", "b"), "d")
    with pytest.raises(ConfigError, match="both has 2 right options"):
        METRICS["f1_macro"].units([choose(asked, 0)])
