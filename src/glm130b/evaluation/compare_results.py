"""Two folders of results, compared item by item."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from glm130b.errors import DataError
from glm130b.evaluation.compare import Comparison, Row, compare, compare_suite
from glm130b.evaluation.metrics import METRICS
from glm130b.evaluation.records import read_units
from glm130b.evaluation.results import read_results
from glm130b.evaluation.table import title_of


def compare_results(first: Path, second: Path, *, tasks: Sequence[str] = (), every_metric: bool = False) -> list[Row]:
    """The main metric of every task that both results have, on the same wording and items, corrected for their number.

    The wording is that of the first result's headline, so that neither side has the better of its wordings.

    Args:
        tasks: only these; default all that both have.
        every_metric: all of a task's metrics and averages, not the first alone; each counts in the correction.

    Raises:
        DataError: they have nothing in common, or not the same items.
    """
    ours, theirs = read_results(first), read_results(second)
    there = {task.name: {one.key for one in task.measurements} for task in theirs.tasks}
    comparisons: dict[str, Comparison] = {}
    for task in ours.tasks:
        if task.name not in there or (tasks and task.name not in tasks):
            continue
        units, other = read_units(first, task.name), read_units(second, task.name)
        for headline in task.headlines:
            main = task.headlines[0]
            if not every_metric and (headline.metric, headline.aggregate) != (main.metric, main.aggregate):
                continue
            wording = headline.prompt or task.measurements[0].prompt
            key = f"{wording or '-'}/{headline.shots}/{headline.attention}"
            if key not in there[task.name]:
                continue
            name = f"{task.name}, {title_of(headline)}" if len(task.headlines) > 1 else task.name
            name += f", {headline.shots} examples" if len({one.shots for one in task.headlines}) > 1 else ""
            try:
                comparisons[name] = compare(
                    units[key, headline.metric],
                    other[key, headline.metric],
                    METRICS[headline.metric],
                    headline.aggregate,
                )
            except DataError as error:
                raise DataError(f"{task.name}: {error.problem}", error.next_step) from None
    if not comparisons:
        raise DataError(
            f"{first} and {second} have no measurement in common.", "Run both on the same tasks, prompts and examples."
        )
    return compare_suite(comparisons)
