"""The schedules as a table."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import small_config

from glm130b.config import load_config
from glm130b.errors import ConfigError
from glm130b.samples import Mixture, mixture_phases, sample_number
from glm130b.training.schedule import Schedule
from glm130b.training.schedule_table import Row, schedule_table, table_text

CHANGES = "train.embedding_gradient_shrink.changes"


def table(*overrides: str) -> list[Row]:
    return schedule_table(small_config("data.sources={a: {path: a}, b: {path: b, weight: 3}}", *overrides).run)


def events(rows: list[Row]) -> dict[int, tuple[str, ...]]:
    return {row.sample: row.events for row in rows}


def test_the_papers_table() -> None:
    rows = schedule_table(load_config("130b").run)
    assert [(row.sample, row.step, row.batch_size) for row in rows] == [
        (0, 0, 192),
        (1_098_632, 2_318, 984),
        (5_493_164, 4_296, 4_224),
        (197_753_905, 49_812, 4_224),
        (219_726_562, 55_014, 0),
    ]
    assert [row.learning_rate for row in rows] == pytest.approx([1e-7, 8e-5, 7.991e-5, 8e-6, 8e-6], rel=1e-4)
    assert rows[-1].tokens == 219_726_562 * 2048
    assert rows[0].mixture == pytest.approx({"english": 0.475, "chinese": 0.475, "(instructions)": 0.05})
    assert rows[0].objectives == pytest.approx({"mask": 0.285, "gmask": 0.665, "instruction": 0.05})
    text = table_text(rows)
    for number in ("4,296 steps", "1,098,632", "5,493,164", "197,753,905", "219,726,562"):
        assert number in text
    columns = {len(line.rsplit("  ", 1)[0]) for line in text.split("\n\n")[0].splitlines()}
    assert len(columns) == 1, "not aligned"


def test_everything_that_begins_or_ends_has_a_row() -> None:
    rows = table(
        f"{CHANGES}=[{{at: 50, over: 20, to: 1}}, {{at: 90, to: 0.5}}]",
        "train.embedding_gradient_shrink.alpha=0.2",
        "train.batch={start: 2, end: 4, increment: 2, ramp: 30}",
        "train.max_steps=21",
        "data.phases=[{start: 100, ramp: 40, weights: {a: 3}}, {start: 200, weights: {a: 0}}, {start: 900}]",
        "data.skip=[[10, 15], [120, 130]]",
    )
    assert events(rows) == {
        0: ("start",),
        10: ("data.skip leaves out sequences 10 to 14",),
        20: ("warm-up ends",),
        30: ("batch ramp ends, 15 steps",),
        50: ("alpha begins to move to 1",),
        54: ("train.max_steps stops the run",),
        70: ("alpha is 1",),
        90: ("alpha changes to 0.5",),
        95: ("mixture begins to change",),
        115: ("data.skip leaves out sequences 120 to 129",),
        125: ("mixture is reached",),
        185: ("mixture changes",),
        360: ("rate reaches its minimum",),
        400: ("end of the run", "never reached: mixture changes (885)"),
    }
    at = {row.sample: row for row in rows}
    assert [at[sample].alpha for sample in (0, 50, 54, 70, 90)] == pytest.approx([0.2, 0.2, 0.36, 1, 0.5])
    assert [at[sample].mixture["a"] for sample in (0, 95, 125, 185)] == pytest.approx([0.25, 0.25, 0.5, 0])
    assert at[115].mixture["a"] == pytest.approx(0.25 + 0.25 * 30 / 40)  # sequence 130 comes next


@st.composite
def configurations(draw: st.DrawFn) -> list[str]:
    starts = sorted(draw(st.sets(st.integers(1, 400), max_size=4)))
    phases = []
    for start, following in zip(starts, [*starts, 500][1:], strict=True):
        ramp = draw(st.integers(0, following - start))
        phases.append(f"{{start: {start}, ramp: {ramp}, weights: {{a: {draw(st.integers(0, 9))}}}}}")
    bounds = sorted(draw(st.sets(st.integers(0, 400), max_size=6)))
    skip = [list(pair) for pair in zip(bounds[::2], bounds[1::2], strict=False)]
    start = draw(st.integers(1, 6))
    batch = f"{{start: {start}, end: {start + draw(st.integers(0, 6))}, ramp: {draw(st.integers(0, 500))}}}"
    return [f"data.phases=[{', '.join(phases)}]", f"data.skip={skip}", f"train.batch={batch}"]


@given(configurations())
def test_a_row_says_what_the_run_does(overrides: list[str]) -> None:
    config = small_config("data.sources={a: {path: a}, b: {path: b, weight: 3}}", *overrides).run
    schedule, names = Schedule.of(config), ["a", "b"]
    mixture = Mixture(names, mixture_phases(config.data, config.objective, names, []), seed=1)
    for row in schedule_table(config):
        assert row.step == sum(start < row.sample for start, _ in schedule.steps())
        shares = mixture.shares(sample_number(row.sample, config.data.skip))
        assert list(row.mixture.values()) == pytest.approx(shares.tolist())
        assert sum(row.objectives.values()) == pytest.approx(1)


def test_text_wraps_many_sources() -> None:
    sources = ", ".join(f"source-{number}: {{path: p}}" for number in range(40))
    text = table_text(schedule_table(small_config(f"data.sources={{{sources}}}").run))
    assert max(map(len, text.splitlines())) <= 120
    assert "source-39 2.5%; [MASK] 30%, [gMASK] 70%" in " ".join(text.split())


def test_changes_of_alpha_follow_one_another() -> None:
    with pytest.raises(ConfigError, match=r"changes\.1\.at is sample 60, but the change before it begins at sample 50"):
        table(f"{CHANGES}=[{{at: 50, over: 20, to: 1}}, {{at: 60, to: 0.5}}]")
    with pytest.raises(ConfigError, match=r"changes\.1\.at"):
        table(f"{CHANGES}=[{{at: 50, to: 1}}, {{at: 50, to: 0.5}}]")
    with pytest.raises(ConfigError, match=r"changes\.2\.at is sample 40"):
        table(f"{CHANGES}=[{{at: 5%, to: 1}}, {{at: 50, to: 0.5}}, {{at: 10%, to: 0.7}}]")
