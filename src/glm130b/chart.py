"""Line charts as inline SVG: no script, no font, no colour of their own but CSS classes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

Point = tuple[float, float]

WIDTH, HEIGHT = 640, 300
LEFT, RIGHT, TOP, BOTTOM = 68, 14, 14, 46
MAX_POINTS = 600
"""A series with more is thinned to the means of equal stretches."""


@dataclass(frozen=True)
class Series:
    """One line of a chart.

    Attributes:
        points: x ascending; those with a value that is not finite are left out.
        style: the CSS class that colours it.
        dots: mark every point.
        joined: draw the line from point to point.
    """

    label: str
    points: Sequence[Point]
    style: str
    dots: bool = False
    joined: bool = True


@dataclass(frozen=True)
class Axis:
    """From values to pixels.

    Attributes:
        low, high: what the ends stand for; in log10 if ``log``.
        start, end: pixels of the ends.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    @classmethod
    def around(
        cls, values: Sequence[float], start: float, end: float, *, log: bool = False, margin: float = 0.05
    ) -> Axis:
        """An axis on which all ``values`` lie; one that is empty or constant still has a length."""
        scaled = [math.log10(value) for value in values] if log else list(values)
        low, high = (min(scaled), max(scaled)) if scaled else (0.0, 1.0)
        pad = (high - low) * margin
        if not high - low > 1e-9 * max(1.0, abs(high)):
            low, high, pad = low - 0.5, high + 0.5, 0.0
        return cls(low - pad, high + pad, start, end, log)

    def place(self, value: float) -> float:
        """Pixel of a value."""
        scaled = math.log10(value) if self.log else value
        return self.start + (scaled - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Round values within the axis: powers of ten and, where those are few, their doubles and fives."""
        if not self.log:
            return _round_values(self.low, self.high)
        first, last = math.floor(self.low), math.ceil(self.high)
        for multiples in ((1,), (1, 3), (1, 2, 5)):
            found = [m * 10.0**power for power in range(first, last + 1) for m in multiples]
            found = [value for value in found if self.low <= math.log10(value) <= self.high]
            if len(found) >= 3:
                return found[:: max(1, len(found) // 6)]
        inside = (10.0**value for value in (self.low, self.high))
        return [value for value in _round_values(*inside) if value > 0]


def line_chart(
    series: Sequence[Series],
    *,
    x_label: str,
    y_label: str,
    description: str,
    log_x: bool = False,
    log_y: bool = False,
    whole_x: bool = False,
) -> str:
    """A chart with axes, ticks and a legend, as a ``<figure>``.

    Args:
        description: what a screen reader says of it.
        log_x, log_y: values must be positive to be drawn; others are left out.
        whole_x: no ticks between whole numbers.
    """
    drawn = [(line, thin(_drawable(line.points, log_x, log_y))) for line in series]
    points = [point for _, line in drawn for point in line]
    if not points:
        return '<figure class="chart"><p>Nothing to draw.</p></figure>'
    x_axis = Axis.around([x for x, _ in points], LEFT, WIDTH - RIGHT, log=log_x, margin=0.0)
    y_axis = Axis.around([y for _, y in points], HEIGHT - BOTTOM, TOP, log=log_y)
    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(description)}">']
    x_ticks = [value for value in x_axis.ticks() if value == round(value) or not whole_x]
    parts += _frame(x_axis, y_axis, x_ticks, x_label, y_label)
    for line, places in drawn:
        parts += _draw(line, [(x_axis.place(x), y_axis.place(y)) for x, y in places])
    legend = "".join(
        f'<span><i class="swatch {escape(line.style)}"></i>{escape(line.label)}</span>'
        for line, places in drawn
        if places
    )
    return f'<figure class="chart">{"".join(parts)}</svg><figcaption>{legend}</figcaption></figure>'


def thin(points: Sequence[Point], most: int = MAX_POINTS) -> list[Point]:
    """At most ``most`` points: means over equal stretches."""
    if len(points) <= most:
        return list(points)
    edges = [len(points) * n // most for n in range(most + 1)]
    stretches = [points[first:last] for first, last in pairwise(edges)]
    return [(sum(x for x, _ in s) / len(s), sum(y for _, y in s) / len(s)) for s in stretches]


def trailing_mean(points: Sequence[Point], window: int) -> list[Point]:
    """Each value replaced by the mean of itself and up to ``window - 1`` before it."""
    smooth = []
    for n, (x, _) in enumerate(points):
        recent = [y for _, y in points[max(0, n + 1 - window) : n + 1]]
        smooth.append((x, sum(recent) / len(recent)))
    return smooth


def format_tick(value: float) -> str:
    """As short as it can be said: 0.001, 2.5, 1 200."""
    if value and (abs(value) < 1e-3 or abs(value) >= 1e6):
        return f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e")
    return f"{value:,.6g}".replace(",", " ")


def _drawable(points: Sequence[Point], log_x: bool, log_y: bool) -> list[Point]:
    finite = [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]
    return [(x, y) for x, y in finite if (x > 0 or not log_x) and (y > 0 or not log_y)]


def _round_values(low: float, high: float) -> list[float]:
    raw = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * 0.999)
    return [n * step for n in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def _frame(x_axis: Axis, y_axis: Axis, x_ticks: Sequence[float], x_label: str, y_label: str) -> list[str]:
    parts = []
    for value in y_axis.ticks():
        y = y_axis.place(value)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 7}" y="{y + 4:.1f}" text-anchor="end">{format_tick(value)}</text>')
    for value in x_ticks:
        x = x_axis.place(value)
        anchor = "end" if x > WIDTH - RIGHT - 12 else "middle"
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 17}" text-anchor="{anchor}">{format_tick(value)}</text>')
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{HEIGHT - BOTTOM}" y2="{HEIGHT - BOTTOM}"/>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text class="label" x="{middle}" y="{HEIGHT - 8}" text-anchor="middle">{escape(x_label)}</text>')
    parts.append(
        f'<text class="label" transform="translate(15 {(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)" '
        f'text-anchor="middle">{escape(y_label)}</text>'
    )
    return parts


def _draw(line: Series, places: list[Point]) -> list[str]:
    if not places:
        return []
    style = escape(line.style)
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    parts = [f'<polyline class="{style}" points="{path}"/>'] if line.joined and len(places) > 1 else []
    if line.dots or not parts:
        parts += [f'<circle class="{style}" cx="{x:.1f}" cy="{y:.1f}" r="4"/>' for x, y in places]
    return parts
