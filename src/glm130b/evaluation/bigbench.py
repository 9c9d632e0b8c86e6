"""BIG-bench's one number over tasks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from glm130b.evaluation.results import Score, TaskResult

METRIC = "bigbench_normalised"

PUBLISHED: dict[str, dict[int, float]] = {
    "GLM-130B": {0: 0.1331, 1: 0.1491, 3: 0.1512},
    "GPT-3 175B": {0: 0.0435, 1: 0.1134, 3: 0.1318},
    "GPT-3 13B": {0: 0.0177, 1: 0.0543, 3: 0.0795},
    "GPT-3 6.7B": {0: -0.0006, 1: 0.0293, 3: 0.0540},
    "GPT-3 2.6B": {0: 0.0060, 1: 0.0071, 3: 0.0183},
    "PaLM 540B": {0: 0.0805, 1: 0.3777},
}
"""BIG-bench-lite's 24 tasks by number of solved examples, as the GLM-130B paper prints them (appendix C.5)."""


@dataclass(frozen=True)
class BigBenchAggregate:
    """The normalised aggregate of one number of solved examples.

    Attributes:
        value: mean over tasks of the normalised preferred score, from 0 (poor) to 1 (best), below 0 if worse than
            poor; ``low`` and ``high`` are the ends of its 95 % interval, nan if a task has none.
        tasks: that were measured; ``missing``: of those asked for, without this score.
    """

    value: float
    low: float
    high: float
    tasks: tuple[str, ...]
    missing: tuple[str, ...]


def bigbench_aggregate(results: Sequence[TaskResult]) -> dict[int, BigBenchAggregate]:
    """The aggregate by number of solved examples, over all tasks that have the normalised score.

    A task's score is the mean over its subtasks. The tasks are independent samples: squares of the distances to the
    ends of their intervals are added (Zou and Donner, 2008).
    """
    found: dict[int, dict[str, Score]] = {}
    for task in results:
        for headline in task.headlines:
            score = headline.score
            if score.metric == METRIC and score.value is not None:
                scores = found.setdefault(headline.shots, {})
                if task.name not in scores or score.aggregate == "macro":
                    scores[task.name] = score
    asked = [task.name for task in results if any(row.metric == METRIC for row in task.headlines)]
    return {shots: _mean(found[shots], asked) for shots in sorted(found)}


def _mean(scores: dict[str, Score], asked: Sequence[str]) -> BigBenchAggregate:
    estimates = [score.estimate for score in scores.values()]
    below = math.sqrt(sum((one.value - one.low) ** 2 for one in estimates)) / len(estimates)
    above = math.sqrt(sum((one.high - one.value) ** 2 for one in estimates)) / len(estimates)
    value = fmean(one.value for one in estimates)
    missing = tuple(name for name in asked if name not in scores)
    return BigBenchAggregate(value, value - below, value + above, tuple(scores), missing)
