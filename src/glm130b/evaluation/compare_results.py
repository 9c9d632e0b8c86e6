"""Two folders of results, compared item by item."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from glm130b.errors import DataError
from glm130b.evaluation.compare import Comparison, Row, compare, compare_suite
from glm130b.evaluation.items import Unit
from glm130b.evaluation.metrics import METRICS
from glm130b.evaluation.records import read_units
from glm130b.evaluation.results import TaskResult, read_results
from glm130b.evaluation.table import title_of


def compare_results(first: Path, second: Path, *, tasks: Sequence[str] = (), every_metric: bool = False) -> list[Row]:
    """The main metric of every task that both results have, on the same wording and items, corrected for their number.

    The wording is that of the first result's headline, so that neither side has the better of its wordings.

    Args:
        tasks: only these; default all that both have.
        every_metric: all of a task's metrics and averages, not the first alone; each counts in the correction.

    Raises:
        DataError: they have nothing in common, or not the same items, data or wordings; or a folder is half-written.
    """
    ours, theirs = read_results(first), read_results(second)
    there = {task.name: task for task in theirs.tasks}
    comparisons: dict[str, Comparison] = {}
    for task in ours.tasks:
        if task.name not in there or (tasks and task.name not in tasks):
            continue
        other = there[task.name]
        _check_data(task, other)
        units, others = read_units(first, task.name), read_units(second, task.name)
        for headline in task.headlines:
            main = task.headlines[0]
            if not every_metric and (headline.metric, headline.aggregate) != (main.metric, main.aggregate):
                continue
            wording = headline.prompt or task.measurements[0].prompt
            key = f"{wording or '-'}/{headline.shots}/{headline.attention}"
            if all(one.key != key for one in other.measurements):
                continue
            _check_wording(task, other, key)
            name = f"{task.name}, {title_of(headline)}" if len(task.headlines) > 1 else task.name
            name += f", {headline.shots} examples" if len({one.shots for one in task.headlines}) > 1 else ""
            if name in comparisons:  # several policies for the same wordings
                continue
            try:
                comparisons[name] = compare(
                    _whole(units, first, task, key, headline.metric),
                    _whole(others, second, other, key, headline.metric),
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


def _check_data(task: TaskResult, other: TaskResult) -> None:
    hashes = {file.path: file.sha256 for file in task.files}
    for file in other.files:
        if hashes.get(file.path, file.sha256) != file.sha256:
            raise DataError(
                f"{task.name}: {file.path} is not the same file in both results.", "Run both on the same data."
            )


def _check_wording(task: TaskResult, other: TaskResult, key: str) -> None:
    texts = {one.prompt_text for both in (task, other) for one in both.measurements if one.key == key}
    if len(texts) > 1:
        raise DataError(f"{task.name}: {key} is not the same wording in both results.", "Run one of them anew.")


def _whole(
    units: Mapping[tuple[str, str], list[Unit]], folder: Path, task: TaskResult, key: str, metric: str
) -> list[Unit]:
    """The units behind a score; those of another run, which was stopped before its results were written, are not."""
    found = units.get((key, metric), [])
    counts = {
        score.units for one in task.measurements if one.key == key for score in one.scores if score.metric == metric
    }
    if counts != {len(found)}:
        raise DataError(
            f"{task.name}: the units in {folder} are not those of its results.", "Run that evaluation again."
        )
    return found
