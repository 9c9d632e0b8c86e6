"""Pictures whose marks lie where their numbers say."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_results import published, score_of, task_of, units_of

from glm130b.evaluation import Comparison, Headline, Score
from glm130b.reporting import figures

SHARE = st.floats(0, 1)
ANY = st.floats(-1e6, 1e6)


def marks(picture: str) -> dict[str, list[ET.Element]]:
    """Elements by class; the picture is well-formed, and everything lies inside."""
    root = ET.fromstring(picture)
    assert root.attrib["role"] == "img"
    assert root.attrib["aria-label"]
    found: dict[str, list[ET.Element]] = {}
    for element in root:
        found.setdefault(element.attrib["class"], []).append(element)
        for key in ("x1", "x2", "cx"):
            if key in element.attrib:
                assert 0 <= float(element.attrib[key]) <= figures.WIDTH
        for key in ("y1", "y2", "cy"):
            if key in element.attrib:
                assert 0 <= float(element.attrib[key]) <= figures.HEIGHT
    return found


def position(element: ET.Element) -> float:
    return float(element.attrib.get("cx") or element.attrib.get("x1") or element.attrib["d"][1:].split()[0])


def place(value: float) -> float:
    """Of a share, on a scale from 0 to 1."""
    return figures.MARGIN + value * (figures.WIDTH - 2 * figures.MARGIN)


def score(value: float | None, low: float | None, high: float | None, *, percent: bool = True) -> Score:
    made = score_of(units_of(0.5, 20, 0))
    return made.model_copy(update={"value": value, "low": low, "high": high, "percent": percent})


def headline(values: list[float], *, percent: bool = True) -> Headline:
    """The lower median, the mean and the best of some values."""
    task, _ = task_of("one", (0.5, 0.6))
    order = sorted(values)
    return task.headlines[0].model_copy(
        update={
            "prompts": len(values),
            "worst": order[0],
            "median": order[(len(order) - 1) // 2],
            "mean": math.fsum(values) / len(values),
            "best": order[-1],
            "score": score(order[0], order[0], order[-1], percent=percent),
        }
    )


@given(st.tuples(SHARE, SHARE, SHARE).map(sorted))
def test_the_interval_lies_around_the_value(numbers: list[float]) -> None:
    low, value, high = numbers
    task, _ = task_of("one", (0.5,))
    shown = task.headlines[0].model_copy(update={"score": score(value, low, high)})
    found = marks(figures.interval_picture(task, shown))
    (interval,), (dot,) = found["interval"], found["value"]
    start, end = float(interval.attrib["x1"]), float(interval.attrib["x2"])
    assert start <= position(dot) <= end
    for x, number in ((start, low), (position(dot), value), (end, high)):
        assert x == pytest.approx(place(number), abs=0.06)
    assert position(found["random"][0]) == pytest.approx(place(0.25), abs=0.06)
    assert position(found["majority"][0]) == pytest.approx(place(0.4), abs=0.06)


@given(st.tuples(ANY, ANY, ANY).map(sorted), st.booleans())
def test_any_number_is_drawn_inside(numbers: list[float], percent: bool) -> None:
    low, value, high = numbers
    task, _ = task_of("one", (0.5,), published=(published(value=high * 2),))
    shown = task.headlines[0].model_copy(update={"score": score(value, low, high, percent=percent)})
    found = marks(figures.interval_picture(task, shown))
    assert position(found["interval"][0]) <= position(found["value"][0])


def test_what_is_undefined_is_not_drawn() -> None:
    task, _ = task_of("one", (0.5,))
    shown = task.headlines[0].model_copy(update={"score": score(None, None, None)})
    found = marks(figures.interval_picture(task, shown))
    assert not {"interval", "value"} & found.keys()


def test_published_scores_of_another_protocol_are_hollow() -> None:
    scores = (
        published(value=0.5),
        published(value=0.6, protocol="other prompts"),
        published(value=0.7, prompts="max"),
        published(value=0.8, shots=5),
    )
    task, _ = task_of("one", (0.4, 0.5), published=scores)
    found = marks(figures.interval_picture(task, task.headlines[0]))
    assert [position(mark) for mark in found["published"]] == [pytest.approx(place(0.5), abs=0.06)]
    assert [position(mark) for mark in found["published differs"]] == [
        pytest.approx(place(value), abs=0.06) for value in (0.6, 0.7)
    ]


@given(st.lists(SHARE | st.sampled_from([0.0, 0.5, 1.0]), min_size=2, max_size=12))
def test_every_prompt_is_a_dot(values: list[float]) -> None:
    shown = headline(values)
    found = marks(figures.strip_picture(shown, [(f"p{n}", value) for n, value in enumerate(values)]))
    dots = found["prompt"]
    assert sorted(position(dot) for dot in dots) == [pytest.approx(place(value), abs=0.06) for value in sorted(values)]
    seen = {(dot.attrib["cx"], dot.attrib["cy"]) for dot in dots}
    assert len(seen) == len(dots), "dots at one place lie above one another"
    for name, value in (("median", shown.median), ("mean", shown.mean), ("best", shown.best)):
        assert position(found[name][0]) == pytest.approx(place(value or 0.0), abs=0.06)


def comparison(low: float, value: float, high: float, *, percent: bool) -> Comparison:
    return Comparison(0.5, 0.5 + value, value, low, high, 0.2, "test", 10, 10, 1, 2, 0.1, "higher", percent)


@given(st.lists(st.tuples(ANY, ANY, ANY).map(sorted), min_size=1, max_size=6))
def test_differences_lie_on_the_right_side_of_zero(rows: list[list[float]]) -> None:
    made = [comparison(low, value, high, percent=True) for low, value, high in rows]
    axis = figures.difference_axis(made)
    for it in made:
        found = marks(figures.difference_picture(it, axis))
        zero, dot = position(found["zero"][0]), position(found["value"][0])
        assert zero == pytest.approx(figures.WIDTH / 2)
        assert (dot - zero) * it.difference >= 0
        (interval,) = found["interval"]
        assert float(interval.attrib["x1"]) <= dot <= float(interval.attrib["x2"])


def test_a_difference_without_an_interval() -> None:
    made = comparison(math.nan, math.nan, math.nan, percent=False)
    found = marks(figures.difference_picture(made, figures.difference_axis([made])))
    assert set(found) == {"track", "zero"}


def test_groups_share_a_scale() -> None:
    made = score_of(units_of(0.5, 60, 0, ("a", "b", "c"))).model_copy(update={"percent": False})
    drawn = {
        name: marks(figures.group_picture(made, value, low, high))
        for name, (value, low, high, _) in made.groups.items()
    }
    by_value = sorted(made.groups, key=lambda name: made.groups[name][0] or 0.0)
    assert by_value == sorted(drawn, key=lambda name: position(drawn[name]["value"][0]))


def test_curves_pass_over_what_is_missing() -> None:
    records = [{"step": n, "loss": 9.0 - n / 10, "grad_norm": None, "embedding_grad_norm": 1.0} for n in range(40)]
    records[3]["loss"] = None
    records[5]["heldout_loss"] = {"all": 8.0}
    assert "held out" in figures.loss_chart(records)
    assert "embedding gradient" in figures.gradient_chart(records)
    assert "Nothing to draw" in figures.gradient_chart([])
