"""Outcomes of one wording to scores, and scores of all wordings to what a table shows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean, median_low

from glm130b.errors import ConfigError
from glm130b.evaluation.baselines import majority_score, random_score
from glm130b.evaluation.items import Outcome, Unit
from glm130b.evaluation.metrics import METRICS, Metric
from glm130b.evaluation.results import Headline, Measurement, Score
from glm130b.evaluation.statistics import Aggregate, estimate, value_of
from glm130b.evaluation.task import Task

_MOST_GROUPS = 200

Groups = dict[str, tuple[float | None, float | None, float | None, int]]
"""Value, ends of the interval, and units of each group."""

UnitsByMetric = Mapping[str, list[Unit]]


def units_of(task: Task, outcomes: Sequence[Outcome]) -> dict[str, list[Unit]]:
    """What each item adds to each of the task's metrics.

    Raises:
        ConfigError: a metric is not for outcomes of the task's mode or items like these.
    """
    items = [outcome.question.item for outcome in outcomes]
    if task.mode == "generate" and items and not any(item.references for item in items):
        raise ConfigError(
            f"{task.name}: no item has a right answer as text, which mode generate needs.", "Choose another reader."
        )
    found = {}
    for name in task.metrics:
        try:
            found[name] = METRICS[name].units(outcomes)
        except (AttributeError, KeyError) as error:
            raise ConfigError(
                f"{task.name}: the metric {name} cannot be had of mode {task.mode} and the reader {task.data.reader}.",
                "Choose another metric, or the mode and reader of a task that has it.",
            ) from error
    return found


def scores_of(task: Task, outcomes: Sequence[Outcome], units: UnitsByMetric) -> tuple[Score, ...]:
    """Every metric of one measurement, with interval, groups and what guessing would score."""
    return tuple(
        _score(METRICS[name], aggregate, units[name], outcomes)
        for name in task.metrics
        for aggregate in aggregates(task)
    )


def aggregates(task: Task) -> tuple[Aggregate, ...]:
    """Micro (over all units), macro (the mean over groups), or both."""
    return ("micro", "macro") if task.aggregate == "both" else (task.aggregate,)


def _score(metric: Metric, aggregate: Aggregate, units: Sequence[Unit], outcomes: Sequence[Outcome]) -> Score:
    def value(given: Sequence[Outcome]) -> float:
        return value_of(metric.units(given), metric, aggregate)

    by_chance = aggregate == "micro" and metric.name == "accuracy"
    names = list(dict.fromkeys(unit.group for unit in units))
    groups: Groups = {}
    if 1 < len(names) <= _MOST_GROUPS and aggregate == "micro":
        for name in names:
            found = estimate([unit for unit in units if unit.group == name], metric, "micro")
            groups[name] = (found.value, found.low, found.high, found.units)
    return _as_score(
        metric,
        aggregate,
        units,
        random=random_score(value, outcomes, exact=by_chance),
        majority=majority_score(value, outcomes),
        groups=groups,
    )


def _as_score(
    metric: Metric,
    aggregate: Aggregate,
    units: Sequence[Unit],
    *,
    random: float | None,
    majority: float | None,
    groups: Groups,
) -> Score:
    found = estimate(units, metric, aggregate)
    return Score(
        metric=metric.name,
        title=metric.title,
        aggregate=aggregate,
        value=found.value,
        low=found.low,
        high=found.high,
        method=found.method,
        units=found.units,
        clusters=found.clusters,
        minimal_effect=found.minimal_effect,
        better=metric.better,
        ideal=metric.ideal,
        percent=metric.percent,
        random=random,
        majority=majority,
        groups=groups,
    )


def headlines(
    task: Task, measurements: Sequence[Measurement], units: Mapping[str, UnitsByMetric]
) -> Iterator[Headline]:
    """One row for each metric, number of examples and direction of attention, over all wordings.

    The median is the lower one of two, so that it is a wording that exists; the mean takes all wordings of an
    item as one cluster.

    Args:
        units: by the key of the measurement and the metric.
    """
    policies = ("max", "median", "mean") if task.prompts_report == "all" else (task.prompts_report,)
    rows = list(dict.fromkeys((one.shots, one.attention) for one in measurements))
    for shots, attention in rows:
        alike = [one for one in measurements if (one.shots, one.attention) == (shots, attention)]
        for place in range(len(alike[0].scores)):
            scores = [one.scores[place] for one in alike]
            defined = [n for n, score in enumerate(scores) if score.value is not None]
            if not defined:
                continue
            values = {n: goodness(scores[n]) for n in defined}
            order = sorted(defined, key=lambda n: (values[n], n))
            middle = next(n for n in order if values[n] == median_low(values.values()))
            for policy in policies if len(alike) > 1 else ("single",):
                shown = {"max": order[-1], "mean": None}.get(policy, middle)
                score = scores[middle] if shown is None else scores[shown]
                if shown is None:
                    metric = METRICS[score.metric]
                    together = [unit for one in alike for unit in units[one.key][score.metric]]
                    score = _as_score(
                        metric, score.aggregate, together, random=score.random, majority=score.majority, groups={}
                    )
                yield Headline(
                    metric=score.metric,
                    aggregate=score.aggregate,
                    shots=shots,
                    attention=attention,
                    policy=policy,
                    prompt="" if shown is None else alike[shown].prompt,
                    prompts=len(alike),
                    worst=scores[order[0]].value,
                    median=scores[middle].value,
                    mean=fmean(scores[n].value or 0.0 for n in defined),
                    best=scores[order[-1]].value,
                    score=score,
                )


def goodness(score: Score) -> float:
    """Larger is better, whichever way the metric counts."""
    if score.value is None:
        return -math.inf
    if score.better == "middle":
        return -abs(score.value - (score.ideal or 0.0))
    return score.value if score.better == "higher" else -score.value
