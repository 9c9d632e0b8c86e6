"""MMLU's accuracy by field of study."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from glm130b.evaluation.items import Chosen, Unit
from glm130b.evaluation.metrics.metric import Metric, ratio, unit_of

_TITLES = {"stem": "STEM", "social_sciences": "social sciences", "humanities": "humanities", "other": "other"}


def _of(category: str) -> Callable[[Sequence[Chosen]], list[Unit]]:
    def units(outcomes: Sequence[Chosen]) -> list[Unit]:
        return [
            unit_of(outcome, outcome.choice in outcome.question.item.labels, 1)
            for outcome in outcomes
            if outcome.question.item.fields.get("category") == category
        ]

    return units


METRICS = [Metric(f"mmlu_{name}", f"accuracy, {title}", _of(name), ratio) for name, title in _TITLES.items()]
