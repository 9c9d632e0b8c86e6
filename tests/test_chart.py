from __future__ import annotations

import math
import re

import pytest

from glm130b.chart import (
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Axis,
    Series,
    format_tick,
    line_chart,
    thin,
    trailing_mean,
)


def points_of(svg: str) -> list[tuple[float, float]]:
    lines = re.findall(r'<polyline[^>]* points="([^"]*)"', svg)
    return [(float(x), float(y)) for line in lines for x, y in (pair.split(",") for pair in line.split())]


def draw(*lines: list[tuple[float, float]], log_y: bool = False) -> str:
    series = [Series(f"line {n}", points, "one") for n, points in enumerate(lines)]
    return line_chart(series, x_label="x", y_label="y", description="test", log_y=log_y)


def test_points_lie_in_the_frame_and_the_right_way_up() -> None:
    places = points_of(draw([(1, 5.0), (2, 9.0), (10, -3.0)]))
    assert len(places) == 3
    assert all(LEFT <= x <= WIDTH - RIGHT and TOP <= y <= HEIGHT for x, y in places)
    assert places[1][1] < places[0][1] < places[2][1]
    assert places[0][0] < places[1][0] < places[2][0]


def test_log_axis_gives_equal_room_to_equal_factors() -> None:
    places = points_of(draw([(0, 0.01), (1, 0.1), (2, 1.0)], log_y=True))
    first, second, third = (y for _, y in places)
    assert first - second == pytest.approx(second - third, abs=0.2)


def test_log_axis_leaves_out_what_is_not_positive() -> None:
    assert len(points_of(draw([(0, 0.0), (1, -1.0), (2, 1.0), (3, 10.0)], log_y=True))) == 2


def test_values_that_are_not_finite_are_left_out() -> None:
    svg = draw([(0, 1.0), (1, math.nan), (2, math.inf), (3, 2.0)])
    assert len(points_of(svg)) == 2
    assert "nan" not in svg
    assert "inf" not in svg


@pytest.mark.parametrize("log_y", [False, True])
@pytest.mark.parametrize("value", [1e-12, 1.0, 3.7, 1e9])
def test_constant_series(value: float, log_y: bool) -> None:
    places = points_of(draw([(0, value), (1, value)], log_y=log_y))
    assert len({y for _, y in places}) == 1
    assert TOP <= places[0][1] <= HEIGHT


@pytest.mark.parametrize("lines", [[], [[]], [[(0.0, math.nan)]]])
def test_nothing_to_draw(lines: list[list[tuple[float, float]]]) -> None:
    assert "Nothing to draw" in draw(*lines)


def test_one_point_is_a_dot() -> None:
    svg = draw([(3, 4.0)])
    assert "<circle" in svg
    assert not points_of(svg)


def test_labels_are_escaped() -> None:
    svg = line_chart([Series("<b>&", [(0, 1), (1, 2)], "one")], x_label="<x>", y_label='"y"', description='"d<')
    assert "<b>" not in svg
    assert "<x>" not in svg
    assert "&lt;b&gt;&amp;" in svg


@pytest.mark.parametrize(("low", "high"), [(0.011, 0.019), (1.0, 1.6), (0.2, 40.0), (1e-9, 1e9), (2.5, 2.6)])
def test_log_ticks_are_inside_and_few(low: float, high: float) -> None:
    axis = Axis.around([low, high], 100.0, 0.0, log=True)
    ticks = axis.ticks()
    assert 1 <= len(ticks) <= 14
    assert all(0.0 <= axis.place(tick) <= 100.0 for tick in ticks)


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-3.0, 17.0), (9.68, 9.72), (0.0, 123456.0)])
def test_ticks_are_inside_and_few(low: float, high: float) -> None:
    axis = Axis.around([low, high], 0.0, 100.0)
    ticks = axis.ticks()
    assert 3 <= len(ticks) <= 7
    assert all(0.0 <= axis.place(tick) <= 100.0 for tick in ticks)


def test_thin_keeps_the_mean() -> None:
    points = [(float(n), float(n % 7)) for n in range(7000)]
    few = thin(points, 100)
    assert len(few) == 100
    assert sum(y for _, y in few) / 100 == pytest.approx(3.0)
    assert thin(points[:5], 100) == points[:5]


def test_trailing_mean() -> None:
    assert trailing_mean([(0, 2.0), (1, 4.0), (2, 9.0)], 2) == [(0, 2.0), (1, 3.0), (2, 6.5)]


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0"), (0.5, "0.5"), (1200.0, "1 200"), (1e-5, "1e-5"), (2e7, "2e7"), (0.001, "0.001")]
)
def test_format_tick(value: float, text: str) -> None:
    assert format_tick(value) == text


def test_points_that_are_not_joined_are_dots() -> None:
    series = Series("apart", [(1, 1.0), (10, 2.0), (100, 3.0), (-1, 2.0)], "one", joined=False)
    svg = line_chart([series], x_label="x", y_label="y", description="test", log_x=True)
    assert "<polyline" not in svg
    places = [float(x) for x in re.findall(r'<circle[^>]* cx="([^"]*)"', svg)]
    assert len(places) == 3  # what is not positive has no place on a logarithmic axis
    assert places[1] - places[0] == pytest.approx(places[2] - places[1], abs=0.2)


def test_ticks_at_whole_numbers_alone() -> None:
    series = [Series("by layer", [(0, 1.0), (11, 2.0)], "one")]

    def ticks(whole: bool) -> list[str]:
        svg = line_chart(series, x_label="x", y_label="y", description="test", whole_x=whole)
        return re.findall(r'text-anchor="(?:middle|end)">([^<a-z]*)</text>', svg.split("x1=")[-2])

    assert "2.5" in ticks(False)
    assert "2.5" not in ticks(True)
    assert {"0", "5", "10"} <= set(ticks(True))
