"""Schedules: the paper's numbers, and properties for any."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glm130b.config import load_config
from glm130b.training import Schedule
from glm130b.training.schedule import Move

PAPER = Schedule.of(load_config("130b").run)


def test_the_papers_samples() -> None:
    assert PAPER.total == 219_726_562
    assert (PAPER.warmup, PAPER.batch_ramp, PAPER.decay) == (1_098_632, 5_493_164, 197_753_905)


def test_the_papers_learning_rate() -> None:
    assert PAPER.learning_rate(0) == 1e-7
    assert PAPER.learning_rate(PAPER.warmup) == pytest.approx(8e-5)
    assert PAPER.learning_rate(PAPER.warmup // 2) == pytest.approx((1e-7 + 8e-5) / 2, rel=1e-4)
    middle = (PAPER.warmup + PAPER.decay) // 2
    assert PAPER.learning_rate(middle) == pytest.approx((8e-5 + 8e-6) / 2, rel=1e-4)
    assert PAPER.learning_rate(PAPER.decay) == PAPER.learning_rate(PAPER.total) == 8e-6


def test_the_papers_batch_ramp() -> None:
    assert PAPER.batch_size(0) == 192
    assert PAPER.batch_size(PAPER.batch_ramp + 1) == 4224
    steps = [(samples, size) for samples, size in PAPER.steps() if samples <= PAPER.batch_ramp]
    assert len(steps) == 4296
    sizes = sorted({size for _, size in steps})
    assert sizes == list(range(192, 4224, 24))


def test_the_papers_alpha_does_not_move() -> None:
    assert PAPER.alpha(0) == PAPER.alpha(PAPER.total) == 0.1


alphas = st.floats(0.01, 1)


@st.composite
def moves(draw: st.DrawFn) -> tuple[Move, ...]:
    starts = sorted(draw(st.sets(st.integers(0, 300), max_size=4)))
    rooms = [after - start for start, after in zip(starts, [*starts, 330][1:], strict=True)]
    return tuple(
        Move(start, draw(st.integers(0, room)), draw(alphas)) for start, room in zip(starts, rooms, strict=True)
    )


@st.composite
def schedules(draw: st.DrawFn) -> Schedule:
    increment = draw(st.integers(1, 9))
    start = draw(st.integers(1, 20))
    total = draw(st.integers(1, 3000))
    warmup = draw(st.integers(0, total))
    return Schedule(
        total=total,
        peak=1.0,
        initial=draw(st.floats(0, 1)),
        minimum=draw(st.floats(0, 1)),
        warmup=warmup,
        decay=draw(st.integers(warmup, total)),
        batch_start=start,
        batch_end=start + increment * draw(st.integers(0, 10)),
        batch_increment=increment,
        batch_ramp=draw(st.integers(0, total)),
        alpha_initial=draw(alphas),
        alpha_moves=draw(moves()),
    )


@given(schedules())
def test_steps_consume_every_sample_once(schedule: Schedule) -> None:
    steps = list(schedule.steps())
    assert sum(size for _, size in steps) == schedule.total
    sizes = [size for _, size in steps]
    assert all(1 <= size <= schedule.batch_end for size in sizes)
    assert sizes[:-1] == sorted(sizes[:-1])
    resumed = list(schedule.steps(steps[len(steps) // 2][0]))
    assert resumed == steps[len(steps) // 2 :]


@given(schedules(), st.integers(0, 3000))
def test_the_rate_stays_in_bounds(schedule: Schedule, samples: int) -> None:
    rate = schedule.learning_rate(samples)
    assert min(schedule.initial, schedule.minimum) - 1e-9 <= rate <= schedule.peak + 1e-9
    if schedule.warmup <= samples < schedule.decay:
        assert schedule.learning_rate(samples + 1) <= rate + 1e-9


@given(schedules())
def test_steps_are_counted_without_going_through_them(schedule: Schedule) -> None:
    starts = [start for start, _ in schedule.steps()]
    for samples in (
        *range(0, schedule.total, 97),
        *starts[::29],
        schedule.batch_ramp,
        schedule.total,
        schedule.total + 1,
    ):
        assert schedule.steps_before(samples) == sum(start < samples for start in starts)


@given(schedules())
def test_alpha_moves_as_an_obvious_version_says(schedule: Schedule) -> None:
    """Sample by sample, adding a move's equal parts one after the other."""
    value = schedule.alpha_initial
    for sample in range(340):
        for move in schedule.alpha_moves:
            if sample == move.at:
                part = (move.to - value) / max(1, move.over)
            if sample == move.end:
                value = move.to
            elif move.at < sample < move.end:
                value += part
        assert schedule.alpha(sample) == pytest.approx(value)
