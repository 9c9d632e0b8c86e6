"""The loss scale after each step, against the rules told step by step."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from glm130b.config import LossScaleConfig
from glm130b.training.scaler import LossScale


def scales(outcomes: str, **settings: int) -> list[float]:
    """The scale after each step: ``.`` a clean one, ``x`` an overflow."""
    config = LossScaleConfig(**settings)
    state, found = LossScale(float(config.initial)), []
    for outcome in outcomes:
        state = state.after(outcome == ".", config)
        found.append(state.scale)
    return found


def test_growth_after_a_clean_window() -> None:
    assert scales("......", initial=8, window=3) == [8, 8, 16, 16, 16, 32]


def test_hysteresis_spares_the_first_overflow() -> None:
    assert scales("xx.xx", initial=64, window=100, hysteresis=2) == [64, 32, 32, 16, 8]


def test_hysteresis_is_renewed_when_the_scale_grows() -> None:
    assert scales("xx..x.x", initial=64, window=2, hysteresis=2) == [64, 32, 32, 64, 64, 64, 32]


def test_an_overflow_begins_the_window_anew() -> None:
    assert scales("..x..", initial=8, window=3, hysteresis=1) == [8, 8, 4, 4, 4]
    assert scales("..x...", initial=8, window=3, hysteresis=1)[-1] == 8


def test_the_floor_holds() -> None:
    assert scales("xxxxxx", initial=8, hysteresis=1, floor=2) == [4, 2, 2, 2, 2, 2]


@given(st.text(alphabet=".x", max_size=60), st.integers(1, 4), st.integers(1, 3))
def test_against_the_rules_told_otherwise(outcomes: str, window: int, hysteresis: int) -> None:
    """A slow reading: look back to the last growth at every overflow, and to the last event at every growth."""
    found = scales(outcomes, initial=1024, window=window, hysteresis=hysteresis)
    scale, since_growth, clean = 1024.0, "", ""
    for outcome, ours in zip(outcomes, found, strict=True):
        since_growth, clean = since_growth + outcome, clean + outcome if outcome == "." else ""
        if outcome == "x" and since_growth.count("x") >= hysteresis:
            scale = max(1.0, scale / 2)
        if len(clean) == window:
            scale, since_growth, clean = scale * 2, "", ""
        assert ours == scale


def test_overflows_in_a_row_are_counted() -> None:
    config = LossScaleConfig(initial=4)
    state = LossScale(4.0)
    for _ in range(5):
        state = state.after(False, config)
    assert state.in_a_row == 5
    assert state.at_floor(config)
    assert state.after(True, config).in_a_row == 0
