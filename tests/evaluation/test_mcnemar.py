"""McNemar's test against sums of binomial chances, printed values and SciPy."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glm130b.evaluation.statistics import mcnemar


@pytest.mark.parametrize(
    ("only_first", "only_second", "exact", "mid"),
    [
        (3, 11, 0.057373046875, 0.03515625),
        (11, 3, 0.057373046875, 0.03515625),
        (0, 6, 0.03125, 0.015625),
        (0, 5, 0.0625, 0.03125),
        (4, 4, 1.0, 1.0),
        (0, 0, 1.0, 1.0),
    ],
)
def test_known_tables(only_first: int, only_second: int, exact: float, mid: float) -> None:
    assert mcnemar(only_first, only_second) == pytest.approx(exact, abs=1e-12)
    assert mcnemar(only_first, only_second, mid_p=True) == pytest.approx(mid, abs=1e-12)


@given(st.integers(0, 40), st.integers(0, 40))
def test_sums_of_chances(only_first: int, only_second: int) -> None:
    """Mid-p is the chance of a more uneven table and half of that of one as uneven."""
    count, larger = only_first + only_second, max(only_first, only_second)
    chances = [math.comb(count, k) / 2**count for k in range(count + 1)]
    tail = math.fsum(chances[larger:])
    assert mcnemar(only_first, only_second) == pytest.approx(min(1.0, 2 * tail), abs=1e-11)
    if count:
        mid = 2 * (tail - chances[larger] / 2)
        assert mcnemar(only_first, only_second, mid_p=True) == pytest.approx(min(1.0, mid), abs=1e-11)


@given(st.integers(0, 3000), st.integers(0, 3000))
def test_scipy(only_first: int, only_second: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    count = only_first + only_second
    expected = stats.binomtest(only_first, count).pvalue if count else 1.0
    assert mcnemar(only_first, only_second) == pytest.approx(expected, rel=1e-7, abs=1e-12)


def test_a_negative_count() -> None:
    with pytest.raises(ValueError, match="no questions can be -1"):
        mcnemar(-1, 3)
