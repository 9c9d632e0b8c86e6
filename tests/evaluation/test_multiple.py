"""Holm's method against its definition, by hand, and by how often it errs."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glm130b.evaluation.statistics import holm


def test_four_tests_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_tests_that_were_not_made_do_not_count() -> None:
    adjusted = holm([0.01, math.nan, 0.02])
    assert adjusted[0] == pytest.approx(0.02)
    assert math.isnan(adjusted[1])
    assert adjusted[2] == pytest.approx(0.02)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.floats(0.001, 0.3))
def test_stepping_down(p_values: list[float], level: float) -> None:
    """Rejected are the smallest p-values, one after another, while they are below level / tests left."""
    rejected: set[int] = set()
    for left, n in zip(
        range(len(p_values), 0, -1), sorted(range(len(p_values)), key=p_values.__getitem__), strict=True
    ):
        if p_values[n] * left >= level:
            break
        rejected.add(n)
    adjusted = holm(p_values)
    assert {n for n, p in enumerate(adjusted) if p < level} == rejected
    assert all(before <= after <= 1 for before, after in zip(p_values, adjusted, strict=True))


def test_any_false_finding_is_as_rare_as_promised() -> None:
    draws = np.random.default_rng(1)
    false = sum(min(holm(list(draws.random(8)))) < 0.05 for _ in range(2000))
    assert 0.03 < false / 2000 < 0.07
