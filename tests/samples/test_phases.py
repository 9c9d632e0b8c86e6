"""From configuration to phases, and what of it a run has seen."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glm130b.config import DataConfig, ObjectiveConfig
from glm130b.errors import ConfigError
from glm130b.samples import Mixture, sample_number, settings_seen
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


def seen_of(config: DataConfig, consumed: int, share: float = 0.0) -> dict[str, Any]:
    return settings_seen(config, ObjectiveConfig(instruction_share=share), consumed)


def test_only_the_future_may_change() -> None:
    phase = {"start": 100, "weights": {"b": 1}}
    seen = seen_of(data(), 100)
    assert seen_of(data(phases=[phase]), 100) == seen
    assert seen_of(data(phases=[phase]), 101) != seen_of(data(), 101)
    assert seen_of(data(skip=[(100, 110)]), 100) == seen
    assert seen_of(data(skip=[(99, 110)]), 100) != seen
    later = {"c": {"path": "c", "weight": 0}, **SOURCES}
    assert seen_of(data(sources=later), 100) == seen
    coming = data(sources=later, phases=[{"start": 100, "weights": {"c": 5}}])
    assert seen_of(coming, 100) == seen
    assert seen_of(coming, 101) != seen
    for other in (
        data(sources={"b": SOURCES["b"], "a": SOURCES["a"]}),
        data(sources={"a": {"path": "a", "weight": 2}, "b": SOURCES["b"]}),
        data(order="replacement"),
    ):
        assert seen_of(other, 100) != seen
    assert seen_of(data(phases=[{**phase, "start": 40}], skip=[(10, 50)]), 5) == seen_of(data(skip=[(10, 50)]), 5)


def test_instructions_may_come_later() -> None:
    """The diary's case: instruction data join a run that began without."""
    phase = {"start": 100, "instruction_share": 0.05, "weights": {"mip": 1}}
    for weight in (0, 1):
        joined = data(instructions={"mip": {"path": "m", "weight": weight}}, phases=[phase])
        assert seen_of(joined, 100) == seen_of(data(), 100)
        assert seen_of(joined, 101) != seen_of(data(), 101)
    told = data(instructions={"mip": {"path": "m"}})
    assert seen_of(told, 100) == seen_of(data(), 100)
    assert seen_of(told, 100, 0.05) != seen_of(data(), 100)
    with pytest.raises(ConfigError, match=r"From sample 100 on, 0.05 .* gives none of it a weight"):
        seen_of(data(instructions={"mip": {"path": "m", "weight": 0}}, phases=[{**phase, "weights": {}}]), 100)


def test_folders_may_be_moved() -> None:
    moved = {name: {**source, "path": f"elsewhere/{name}"} for name, source in SOURCES.items()}
    assert seen_of(data(sources=moved), 100) == seen_of(data(), 100)


@pytest.mark.slow
@given(
    st.lists(st.decimals("0.1", 10, places=1), min_size=1, max_size=9),
    st.lists(st.integers(0, 9), max_size=4),
    st.integers(0, 9),
)
@settings(max_examples=40, deadline=None)
def test_sources_of_no_weight_move_nothing(weights: list[Decimal], places: list[int], seed: int) -> None:
    """To the last bit: a rounding error could flip a tie in the apportionment."""
    sources = [(f"s{number}", float(weight)) for number, weight in enumerate(weights)]
    more = list(sources)
    for number, place in enumerate(places):
        more.insert(place, (f"new{number}", 0.0))
    made = []
    for pairs in (sources, more):
        config = data(sources={name: {"path": "p", "weight": weight} for name, weight in pairs})
        names = [name for name, _ in pairs]
        made.append(Mixture(names, mixture_phases(config, ObjectiveConfig(), names, []), seed))
    for index in range(0, 100_000, 173):
        assert made[0].locate(index) == made[1].locate(index)
