"""Small pictures for the rows of tables, and curves, as inline SVG coloured by CSS classes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from html import escape

from glm130b.chart import Axis, Series, line_chart, trailing_mean
from glm130b.evaluation import Comparison, Headline, Score, TaskResult, interval_text, number_text
from glm130b.training import Record

WIDTH, HEIGHT, MARGIN = 260, 26, 8
_MIDDLE = HEIGHT / 2


def share_axis(values: Iterable[float | None]) -> Axis:
    """From 0 to 1, or further where a value lies beyond."""
    finite = _finite(values)
    return Axis(min(0.0, *finite, 0.0), max(1.0, *finite, 1.0), MARGIN, WIDTH - MARGIN)


def score_axis(score: Score, others: Iterable[float | None] = ()) -> Axis:
    """Where a score, its baselines and other values of its metric are drawn."""
    values = [score.value, score.low, score.high, score.random, score.majority, *others]
    return share_axis(values) if score.percent else Axis.around(_finite(values), MARGIN, WIDTH - MARGIN, margin=0.1)


def interval_picture(task: TaskResult, headline: Headline) -> str:
    """A score with its interval, what guessing scores, and what was published."""
    score = headline.score
    published = [
        one
        for one in task.published
        if (one.metric, one.shots, one.attention) == (headline.metric, headline.shots, headline.attention)
    ]
    axis = score_axis(score, [one.value for one in published])

    def text(value: float | None) -> str:
        return number_text(value, score.percent)

    parts, told = [_track()], [f"{text(score.value)}, 95 % interval {interval_text(score)}"]
    for name, value in (("random", score.random), ("majority", score.majority)):
        if value is not None:
            parts.append(_tick(axis.place(value), name, f"{name}: {text(value)}"))
            told.append(f"{name} {text(value)}")
    for one in published:
        alike = not one.protocol and one.prompts in ("", headline.policy)
        title = f"{one.system}, published: {text(one.value)}{'' if alike else ', by another protocol'}"
        told.append(title)
        parts.append(_diamond(axis.place(one.value), "published" if alike else "published differs", title))
    parts += _interval(axis, score.low, score.high, score.value, told[0])
    return _svg(parts, "; ".join(told))


def group_picture(score: Score, value: float | None, low: float | None, high: float | None) -> str:
    """One group's value and interval, on a scale that all groups of the score share."""
    axis = score_axis(score, [number for group in score.groups.values() for number in group[:3]])
    ends = f"{number_text(low, score.percent)} to {number_text(high, score.percent)}"
    told = f"{number_text(value, score.percent)}, 95 % interval {ends}"
    return _svg([_track(), *_interval(axis, low, high, value, told)], told)


def strip_picture(headline: Headline, prompts: Sequence[tuple[str, float | None]]) -> str:
    """Every prompt's score as a dot; the median as a line, the mean as a diamond, the best as a ring."""
    percent = headline.score.percent
    values = [value for _, value in prompts]
    axis = share_axis(values) if percent else Axis.around(_finite(values), MARGIN, WIDTH - MARGIN, margin=0.1)
    parts = [_track()]
    if headline.median is not None:
        title = f"median: {number_text(headline.median, percent)}"
        parts.append(_tick(axis.place(headline.median), "median", title))
    for name, value, height in _stacked(prompts, axis):
        parts.append(_circle(axis.place(value), 4, "prompt", f"{name}: {number_text(value, percent)}", height))
    if headline.mean is not None:
        parts.append(_diamond(axis.place(headline.mean), "mean", f"mean: {number_text(headline.mean, percent)}"))
    if headline.best is not None:
        parts.append(_circle(axis.place(headline.best), 7, "best", f"best: {number_text(headline.best, percent)}"))
    numbers = ", ".join(
        f"{name} {number_text(value, percent)}"
        for name, value in zip(
            ("worst", "median", "mean", "best"),
            (headline.worst, headline.median, headline.mean, headline.best),
            strict=True,
        )
    )
    return _svg(parts, f"{len(prompts)} prompts: {numbers}")


def difference_axis(comparisons: Sequence[Comparison]) -> Axis:
    """An axis with 0 in its middle, on which all intervals lie; one for each unit of differences."""
    values = [abs(one) for it in comparisons for one in (it.difference, it.low, it.high) if math.isfinite(one)]
    far = max(values, default=0.0) * 1.05 or 1.0
    return Axis(-far, far, MARGIN, WIDTH - MARGIN)


def difference_picture(comparison: Comparison, axis: Axis) -> str:
    """A paired difference with its interval, and 0."""
    low, high, value = (_or_none(one) for one in (comparison.low, comparison.high, comparison.difference))
    ends = f"{number_text(low, comparison.percent)} to {number_text(high, comparison.percent)}"
    told = f"difference {number_text(value, comparison.percent)}, 95 % interval {ends}"
    parts = [_track(), _tick(axis.place(0.0), "zero", "no difference")]
    return _svg([*parts, *_interval(axis, low, high, value, told)], told)


def loss_chart(records: Sequence[Record]) -> str:
    """Training loss, its trailing mean and held-out loss by step."""
    window = max(1, len(records) // 20)
    loss = [(record["step"], record["loss"]) for record in records if record.get("loss") is not None]
    held = [(record["step"], record["heldout_loss"]["all"]) for record in records if record.get("heldout_loss")]
    smooth = [Series(f"training, mean of {window} steps", trailing_mean(loss, window), "one")] if window > 1 else []
    lines = [Series("training, each step", loss, "raw" if smooth else "one"), *smooth]
    lines += [Series("held out", held, "two", dots=True)] if held else []
    return line_chart(lines, x_label="step", y_label="loss, nats a token", description="Loss by step", whole_x=True)


def gradient_chart(records: Sequence[Record]) -> str:
    """Norm of the whole gradient and of the embedding's by step, on a logarithmic axis."""
    lines = [
        Series(label, [(record["step"], record[key]) for record in records if record.get(key) is not None], style)
        for label, key, style in (
            ("whole gradient, before clipping", "grad_norm", "three"),
            ("embedding gradient", "embedding_grad_norm", "four"),
        )
    ]
    return line_chart(
        lines,
        x_label="step",
        y_label="norm (log scale)",
        description="Norm of the gradient by step",
        log_y=True,
        whole_x=True,
    )


def _finite(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None and math.isfinite(value)]


def _stacked(points: Sequence[tuple[str, float | None]], axis: Axis) -> Iterator[tuple[str, float, float]]:
    """Each point that has a value with its height: points at one place lie above one another."""
    there = [(name, value) for name, value in points if value is not None and math.isfinite(value)]
    places = Counter(round(axis.place(value)) for _, value in there)
    placed: Counter[int] = Counter()
    for name, value in there:
        place = round(axis.place(value))
        apart = min(6.0, (HEIGHT - 10) / places[place])
        yield name, value, _MIDDLE + (placed[place] - (places[place] - 1) / 2) * apart
        placed[place] += 1


def _or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _interval(axis: Axis, low: float | None, high: float | None, value: float | None, title: str) -> list[str]:
    parts = []
    if low is not None and high is not None:
        start, end = axis.place(low), axis.place(high)
        parts.append(f'<line class="interval" x1="{start:.1f}" x2="{end:.1f}" y1="{_MIDDLE}" y2="{_MIDDLE}"/>')
    if value is not None:
        parts.append(_circle(axis.place(value), 4, "value", title))
    return parts


def _track() -> str:
    return f'<line class="track" x1="{MARGIN}" x2="{WIDTH - MARGIN}" y1="{_MIDDLE}" y2="{_MIDDLE}"/>'


def _tick(x: float, style: str, title: str) -> str:
    return f'<line class="{style}" x1="{x:.1f}" x2="{x:.1f}" y1="4" y2="{HEIGHT - 4}">{_title(title)}</line>'


def _circle(x: float, radius: int, style: str, title: str, y: float = _MIDDLE) -> str:
    return f'<circle class="{style}" cx="{x:.1f}" cy="{y:.1f}" r="{radius}">{_title(title)}</circle>'


def _diamond(x: float, style: str, title: str) -> str:
    path = f"M{x:.1f} {_MIDDLE - 6}l5 6l-5 6l-5 -6z"
    return f'<path class="{style}" d="{path}">{_title(title)}</path>'


def _title(text: str) -> str:
    return f"<title>{escape(text)}</title>"


def _svg(parts: Iterable[str], description: str) -> str:
    return (
        f'<svg class="row" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(description)}">'
        f"{''.join(parts)}</svg>"
    )
