"""Results as a table of text."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from glm130b.evaluation.bigbench import PUBLISHED, bigbench_aggregate
from glm130b.evaluation.results import Headline, Results, Score, TaskResult

_HEADER = ("task", "metric", "shots", "items", "score", "95 % interval", "prompts", "random", "majority", "published")
_SEEN = {"none": "", "label_space": "kind seen", "dataset": "SEEN", "unknown": "?"}


def results_text(results: Results) -> str:
    """One row for each headline, with what guessing would score and what was published, and notes below."""
    rows: list[tuple[str, ...]] = [(*_HEADER, "in training")]
    notes: list[str] = []
    for task in results.tasks:
        rows += [(*_row(task, headline), _SEEN[task.seen]) for headline in task.headlines]
        notes += notes_of(task, results.limit)
    notes += _bigbench(results)
    notes += [f"Left out for want of data: {', '.join(results.left_out)}."] if results.left_out else []
    notes += [] if results.complete else ["The run was stopped before its end; the same command goes on."]
    return "\n".join([*aligned(rows), *([""] if notes else []), *notes])


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows with columns of one width, two spaces between."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def number_text(value: float | None, percent: bool) -> str:
    """A number as tables show it; a dash where it is undefined."""
    if value is None:
        return "-"
    return f"{100 * value:.1f}" if percent else f"{value:.3f}"


def interval_text(score: Score) -> str:
    """The ends of the interval."""
    return f"{number_text(score.low, score.percent)} to {number_text(score.high, score.percent)}"


def title_of(headline: Headline) -> str:
    """Metric, aggregate and direction of attention, where there is something to tell apart."""
    parts = [headline.score.title]
    parts += ["macro"] if headline.aggregate == "macro" else []
    parts += ["one-way"] if headline.attention == "unidirectional" else []
    return ", ".join(parts)


def notes_of(task: TaskResult, limit: int | None) -> Iterator[str]:
    """What a reader of a task's row has to know."""
    cut = sum(one.cut for one in task.measurements)
    if task.expects is not None and task.available != task.expects:
        yield f"{task.name}: the files hold {task.available:,} items, the complete set {task.expects:,}."
    if task.items < task.available and limit is not None:
        yield f"{task.name}: {task.items:,} of {task.available:,} items, drawn evenly (--limit)."
    yield from (f"{task.name}: {sentence}" for sentence in task.adapted)
    if cut:
        yield f"{task.name}: {cut:,} texts were too long and lost their beginning."
    if any(headline.policy == "max" for headline in task.headlines):
        yield f"{task.name}: the best of several prompts, chosen on the scored items themselves."


def published_text(task: TaskResult, headline: Headline) -> str:
    """The paper's own score, in parentheses where its protocol differs."""
    alike = [
        one
        for one in task.published
        if (one.metric, one.shots, one.attention) == (headline.metric, headline.shots, headline.attention)
        and one.system.startswith("GLM-130B")
    ]
    if not alike:
        return ""
    text = number_text(alike[0].value, headline.score.percent)
    return f"({text})" if alike[0].protocol or alike[0].prompts not in ("", headline.policy) else text


def _bigbench(results: Results) -> Iterator[str]:
    for shots, found in bigbench_aggregate(results.tasks).items():
        published = PUBLISHED["GLM-130B"].get(shots)
        beside = f"; published of all 24: {100 * published:.1f}" if published is not None else ""
        numbers = " to ".join(number_text(one if math.isfinite(one) else None, True) for one in (found.low, found.high))
        yield (
            f"BIG-bench, {shots} examples: normalised aggregate {100 * found.value:.1f} ({numbers}) of "
            f"{len(found.tasks)} tasks{beside}."
        )


def _row(task: TaskResult, headline: Headline) -> tuple[str, ...]:
    score = headline.score
    spread = ""
    if headline.prompts > 1:
        worst, best = number_text(headline.worst, score.percent), number_text(headline.best, score.percent)
        spread = f"{headline.policy} of {headline.prompts}: {worst} to {best}"
    return (
        task.name,
        title_of(headline),
        str(headline.shots),
        str(score.units),
        number_text(score.value, score.percent),
        interval_text(score),
        spread,
        number_text(score.random, score.percent) if score.random is not None else "",
        number_text(score.majority, score.percent) if score.majority is not None else "",
        published_text(task, headline),
    )
