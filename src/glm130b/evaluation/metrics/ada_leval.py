"""Ada-LEval's reading of free answers, after the benchmark's public evaluation (arXiv:2404.06480)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import permutations

from glm130b.evaluation.items import Unit, Written
from glm130b.evaluation.metrics.metric import Metric, ratio, unit_of


def best_answer(text: str, answers: int) -> str:
    """The designation that an answer names, such as ``A4``; empty if none.

    Of several the highest number, since ``A1`` is also part of ``A12``; a bare number will do.

    Args:
        answers: how many there are.
    """
    for prefix in ("A", ""):
        for number in range(answers, 0, -1):
            if f"{prefix}{number}" in text:
                return f"A{number}"
    return ""


def order(text: str, segments: int) -> list[int]:
    """The order that an answer gives; empty if it cannot be told.

    What follows ``Answer:`` is read as JSON. Failing that, the numbers may be strewn over the text, if only one
    order of them can be read from left to right.
    """
    if "Answer:" in text:
        text = text.split("Answer:")[1].strip()
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        orders = [one for one in permutations(range(1, segments + 1)) if _is_subsequence(map(str, one), text)]
        return list(orders[0]) if len(orders) == 1 else []
    return found if isinstance(found, list) else []


def _is_subsequence(parts: Iterable[str], text: str) -> bool:
    place = 0
    for part in parts:
        place = text.find(part, place) + 1
        if place == 0:
            return False
    return True


def _best_answers(outcomes: Sequence[Written]) -> list[Unit]:
    return [
        unit_of(one, best_answer(one.texts[0], len(item.fields["answers"])) == item.references[0], 1)
        for one in outcomes
        for item in [one.question.item]
    ]


def _orders(outcomes: Sequence[Written]) -> list[Unit]:
    """All segments have to be there; the public evaluation lets a list that breaks off early pass."""
    return [
        unit_of(one, order(one.texts[0], len(right)) == right, 1)
        for one in outcomes
        for right in [json.loads(one.question.item.references[0])]
    ]


METRICS = [
    Metric("best_answer", "accuracy (best answer)", _best_answers, ratio),
    Metric("exact_order", "accuracy (whole order)", _orders, ratio),
]
