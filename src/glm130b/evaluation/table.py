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
    for task in results.tasks:
        rows += [(*_row(task, headline), _SEEN[task.seen]) for headline in task.headlines]
    notes = list(notes_of(results))
    return "\n".join([*aligned(rows), *([""] if notes else []), *notes])


def notes_of(results: Results) -> Iterator[str]:
    """What a reader of the table has to know, each once with the tasks it is true of."""
    if results.limit is not None and any(task.items < task.available for task in results.tasks):
        yield f"Of larger tasks {results.limit:,} items were drawn evenly (--limit)."
    tasks_by_note: dict[str, list[str]] = {}
    for task in results.tasks:
        for note, detail in _about(task):
            tasks_by_note.setdefault(note, []).append(task.name + (f" ({detail})" if detail else ""))
    for note, names in tasks_by_note.items():
        yield f"{note}: {', '.join(names)}."
    yield from _bigbench(results)
    if results.left_out:
        yield f"Left out for want of data: {', '.join(results.left_out)}."
    for name, problem in results.failed.items():
        yield f"{name} failed: {problem.removeprefix(f'{name}: ')}"
    if not results.complete:
        yield "The run was stopped before its end; the same command goes on."


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
    """The ends of the interval, or a dash where there is too little for one."""
    if score.low is None or score.high is None:
        return "-"
    return f"{number_text(score.low, score.percent)} to {number_text(score.high, score.percent)}"


def title_of(headline: Headline) -> str:
    """Metric, aggregate and direction of attention, where there is something to tell apart."""
    parts = [headline.score.title]
    parts += ["macro"] if headline.aggregate == "macro" else []
    parts += ["one-way"] if headline.attention == "unidirectional" else []
    return ", ".join(parts)


def _about(task: TaskResult) -> Iterator[tuple[str, str]]:
    """What a reader of a task's row has to know, as a note and its details."""
    if task.expects is not None and task.available != task.expects:
        yield "Not the complete set", f"{task.available:,} of {task.expects:,} items"
    for sentence in task.adapted:
        yield "Done otherwise than the task says", sentence
    if cut := sum(one.cut for one in task.measurements):
        yield "Texts too long for the model, which lost their beginning", f"{cut:,}"
    if missing := sum(one.missing for one in task.measurements):
        yield "Questions without an answer, left out", f"{missing:,}"
    if any(headline.policy == "max" for headline in task.headlines):
        yield "The best of several prompts, chosen on the scored items themselves", ""


def published_text(task: TaskResult, headline: Headline) -> str:
    """The paper's own score, in parentheses where its protocol differs or could not be followed."""
    alike = [
        one
        for one in task.published
        if (one.metric, one.shots, one.attention) == (headline.metric, headline.shots, headline.attention)
        and one.system.startswith("GLM-130B")
    ]
    if not alike:
        return ""
    text = number_text(alike[0].value, headline.score.percent)
    shortened = task.mode == "lm" and task.adapted  # windows, which perplexity depends on
    differs = alike[0].protocol or shortened or alike[0].prompts not in ("", headline.policy)
    return f"({text})" if differs else text


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
