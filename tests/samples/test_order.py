"""The order of the data: permutations, exact shares, random access."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glm130b.samples.order import Mixture, draw_piece, generator, permute


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


WEIGHTS = st.dictionaries(st.sampled_from("abcdef"), st.floats(0.01, 10), min_size=1)


@given(WEIGHTS, st.integers(0, 1000))
def test_ordinals_count_up_for_each_source(weights: dict[str, float], seed: int) -> None:
    mixture = Mixture(weights, seed)
    seen: dict[str, set[int]] = {name: set() for name in weights}
    for index in range(2000):
        name, ordinal = mixture.locate(index)
        seen[name].add(ordinal)
    for ordinals in seen.values():
        assert ordinals == set(range(len(ordinals)))
    assert sum(len(ordinals) for ordinals in seen.values()) == 2000


@given(WEIGHTS, st.integers(0, 1000))
def test_shares_are_the_weights(weights: dict[str, float], seed: int) -> None:
    mixture = Mixture(weights, seed)
    counts = Counter(mixture.locate(index)[0] for index in range(1000))
    total = sum(weights.values())
    for name, weight in weights.items():
        assert abs(counts[name] / 1000 - weight / total) <= 0.001 * len(weights)


def test_an_epoch_takes_each_piece_once() -> None:
    mixture, pieces = Mixture({"a": 3, "b": 1}, 0), {"a": 30, "b": 7}
    orders: dict[tuple[str, int], list[int]] = {}
    newest = {"a": 0, "b": 0}
    for index in range(400):
        name, piece, epoch = mixture.piece(index, pieces)
        orders.setdefault((name, epoch), []).append(piece)
        assert epoch >= newest[name]
        newest[name] = epoch
    assert sorted(orders["a", 0]) == sorted(orders["a", 1]) == list(range(30))
    assert orders["a", 0] != orders["a", 1]
    assert sorted(orders["b", 0]) == list(range(7))


def test_drawing_with_replacement_follows_the_weights() -> None:
    weights, pieces = {"a": 0.8, "b": 0.2}, {"a": 10, "b": 10}
    drawn = [draw_piece(index, weights, pieces, 0) for index in range(4000)]
    assert sum(name == "a" for name, _, _ in drawn) / 4000 == pytest.approx(0.8, abs=0.02)
    assert drawn[17] == draw_piece(17, weights, pieces, 0)
    assert {piece for _, piece, _ in drawn} == set(range(10))


def test_generators_are_independent_streams() -> None:
    draws = np.array([generator(5, index).random() for index in range(2000)])
    assert draws.mean() == pytest.approx(0.5, abs=0.03)
    assert abs(np.corrcoef(draws[1:], draws[:-1])[0, 1]) < 0.06
    assert generator(5, 3).random() == draws[3]
    assert generator(6, 3).random() != draws[3]
