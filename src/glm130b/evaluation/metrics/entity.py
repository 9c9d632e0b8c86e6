"""ReCoRD's scores: the chosen entity against every mention of the right one, as words."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from glm130b.evaluation.items import Chosen, Unit
from glm130b.evaluation.metrics.metric import Metric, mean, ratio, unit_of
from glm130b.evaluation.metrics.text import exact_match, f1


def _best(compare: Callable[[str, str], float]) -> Callable[[Sequence[Chosen]], list[Unit]]:
    def units(outcomes: Sequence[Chosen]) -> list[Unit]:
        return [
            unit_of(one, max(compare(one.question.options[one.choice], mention) for mention in mentions), 1)
            for one in outcomes
            for mentions in [one.question.item.references]
        ]

    return units


METRICS = [
    Metric("entity_exact_match", "exact match (any mention)", _best(exact_match), ratio),
    Metric("entity_f1", "F1 (words, best mention)", _best(f1), mean),
]
