"""From configuration to phases, and what of it a run has seen."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glm130b.config import DataConfig, ObjectiveConfig
from glm130b.samples import sample_number, settings_seen
from glm130b.samples.phases import mixture_phases

SOURCES = {"a": {"path": "a", "weight": 1}, "b": {"path": "b", "weight": 3}}


def data(**values: Any) -> DataConfig:
    return DataConfig(**{"sources": SOURCES, "seq_length": 64, **values})


def test_shares_by_phase() -> None:
    config = data(
        instructions={"mip": {"path": "m"}},
        phases=[
            {"start": 100, "ramp": "640 tokens", "weights": {"a": 0}},
            {"start": 200, "instruction_share": 0.1, "weights": {"a": 1}},
        ],
    )
    phases = mixture_phases(config, ObjectiveConfig(instruction_share=0.05), ["a", "b"], ["mip"])
    assert [(phase.start, phase.ramp) for phase in phases] == [(0, 0), (100, 10), (200, 0)]
    wanted = [[0.2375, 0.7125, 0.05], [0, 0.95, 0.05], [0.225, 0.675, 0.1]]
    for phase, shares in zip(phases, wanted, strict=True):
        assert phase.shares.tolist() == pytest.approx(shares)


@st.composite
def stretches(draw: st.DrawFn) -> list[tuple[int, int]]:
    bounds = sorted(draw(st.sets(st.integers(0, 60), max_size=8)))
    return list(zip(bounds[::2], bounds[1::2], strict=False))


@given(stretches())
def test_numbers_pass_over_what_is_skipped(skip: list[tuple[int, int]]) -> None:
    kept = [number for number in range(200) if not any(first <= number < end for first, end in skip)]
    assert [sample_number(consumed, skip) for consumed in range(100)] == kept[:100]


def test_only_the_future_may_change() -> None:
    phase = {"start": 100, "weights": {"b": 1}}
    seen = settings_seen(data(), 100)
    assert settings_seen(data(phases=[phase]), 100) == seen
    assert settings_seen(data(phases=[phase]), 101) != settings_seen(data(), 101)
    assert settings_seen(data(skip=[(100, 110)]), 100) == seen
    assert settings_seen(data(skip=[(99, 110)]), 100) != seen
    later = {"c": {"path": "c", "weight": 0}, **SOURCES}
    assert settings_seen(data(sources=later), 100) == seen
    coming = data(sources=later, phases=[{"start": 100, "weights": {"c": 5}}])
    assert settings_seen(coming, 100) == seen
    assert settings_seen(coming, 101) != seen
    for other in (
        data(sources={"b": SOURCES["b"], "a": SOURCES["a"]}),
        data(sources={"a": {"path": "a", "weight": 2}, "b": SOURCES["b"]}),
        data(order="replacement"),
        data(instructions={"mip": {"path": "m"}}),
    ):
        assert settings_seen(other, 100) != seen
    assert settings_seen(data(phases=[{**phase, "start": 40}], skip=[(10, 50)]), 5) == settings_seen(
        data(skip=[(10, 50)]), 5
    )
