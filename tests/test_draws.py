"""Random draws by number: permutations, generators."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glm130b.draws import generator, permute


@given(st.integers(1, 700), st.integers(0, 2**64 - 1))
def test_permute_is_a_permutation(size: int, key: int) -> None:
    assert sorted(permute(index, size, key) for index in range(size)) == list(range(size))


def test_permute_scatters() -> None:
    """Neighbours do not stay neighbours, and two keys give two orders."""
    size = 5000
    first = np.array([permute(index, size, 1) for index in range(size)])
    second = np.array([permute(index, size, 2) for index in range(size)])
    assert (np.abs(np.diff(first)) == 1).mean() < 0.005
    assert (first == second).mean() < 0.005
    assert abs(np.corrcoef(first, np.arange(size))[0, 1]) < 0.05


def test_generators_are_independent_streams() -> None:
    draws = np.array([generator(5, index).random() for index in range(2000)])
    assert draws.mean() == pytest.approx(0.5, abs=0.03)
    assert abs(np.corrcoef(draws[1:], draws[:-1])[0, 1]) < 0.06
    assert generator(5, 3).random() == draws[3]
    assert generator(6, 3).random() != draws[3]


def test_large_permutations() -> None:
    size = 10**12 + 7
    taken = [permute(rank, size, 1) for rank in range(1000)]
    assert len(set(taken)) == 1000
    assert all(0 <= number < size for number in taken)
    assert sum(number < size // 2 for number in taken) in range(420, 580)
