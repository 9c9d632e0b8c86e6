"""Shares of right answers to questions with options."""

from __future__ import annotations

from collections.abc import Sequence

from glm130b.evaluation.items import Chosen, Unit
from glm130b.evaluation.metrics.metric import Metric, ratio, unit_of


def _right(outcomes: Sequence[Chosen]) -> list[Unit]:
    return [unit_of(outcome, outcome.choice in outcome.question.item.labels, 1) for outcome in outcomes]


METRICS = [Metric("accuracy", "accuracy", _right, ratio)]
