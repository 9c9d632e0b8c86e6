"""Smallest differences that would be found, against the printed ones and by trying."""

from __future__ import annotations

import numpy as np
import pytest

from glm130b.evaluation.statistics import effect_of_error, effect_paired, effect_unpaired, mcnemar, two_shares


@pytest.mark.parametrize(("count", "points"), [(160, 14), (4316, 2.8), (14_042, 1.5)])
def test_differences_between_two_shares_near_seventy_percent(count: int, points: float) -> None:
    assert round(100 * effect_unpaired(0.7, count), 0 if points == 14 else 1) == points


def test_a_difference_is_found_four_times_of_five() -> None:
    draws = np.random.default_rng(1)
    effect = effect_unpaired(0.6, 400)
    low, high = draws.binomial(400, 0.6 - effect / 2, 2000), draws.binomial(400, 0.6 + effect / 2, 2000)
    found = sum(two_shares(int(a), 400, int(b), 400)[1] < 0.05 for a, b in zip(high, low, strict=True))
    assert 0.77 < found / 2000 < 0.83


@pytest.mark.parametrize(("discordant", "count"), [(60, 400), (300, 2000), (900, 3000)])
def test_a_paired_difference_is_found_four_times_of_five(discordant: int, count: int) -> None:
    """Rather less often, since McNemar's exact test errs on the safe side."""
    draws = np.random.default_rng(2)
    effect, rate = effect_paired(discordant, count), discordant / count
    cells = [(rate - effect) / 2, (rate + effect) / 2, 1 - rate]
    found = sum(mcnemar(int(a), int(b)) < 0.05 for a, b, _ in draws.multinomial(count, cells, 2000))
    assert 0.72 < found / 2000 < 0.83


def test_pairing_finds_smaller_differences() -> None:
    assert effect_paired(50, 1000) < effect_unpaired(0.7, 1000) / 2
    assert effect_paired(1000, 1000) > effect_paired(50, 1000)


def test_without_discordant_pairs_nothing_below_six_could_be_found() -> None:
    assert effect_paired(0, 1000) == effect_paired(6, 1000) > 6 / 1000
    assert mcnemar(0, 6) < 0.05 < mcnemar(0, 5)


def test_an_effect_is_2_8_standard_errors() -> None:
    assert effect_of_error(1.0) == pytest.approx(2.801585218)
