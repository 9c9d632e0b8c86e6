"""Scores of items that belong together: candidates of one question, sentences that differ in one word.

``fields["question_id"]`` names an item's question, ``fields["pair"]`` its pair (empty if it has none).
"""

from __future__ import annotations

from collections.abc import Sequence

from glm130b.evaluation.items import Chosen, Unit
from glm130b.evaluation.metrics.metric import Metric, mean, ratio

_YES = 1


def _whole_questions(outcomes: Sequence[Chosen]) -> list[Unit]:
    """A question is right if every candidate is judged rightly: EM of MultiRC and of MC-TACO."""
    questions = _by_field(outcomes, "question_id")
    return [_unit(name, members, all(_is_right(one) for one in members)) for name, members in questions.items()]


def _question_f1s(outcomes: Sequence[Chosen]) -> list[Unit]:
    """F1 of a question's right candidates, as the evaluator of MC-TACO has it.

    Precision is 1 where none is chosen, recall is 1 where none is right.
    """
    units = []
    for name, members in _by_field(outcomes, "question_id").items():
        chosen = [one for one in members if one.choice == _YES]
        right = [one for one in members if _YES in one.question.item.labels]
        both = sum(_YES in one.question.item.labels for one in chosen)
        precision = both / len(chosen) if chosen else 1.0
        recall = both / len(right) if right else 1.0
        f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
        units.append(_unit(name, members, f1))
    return units


def _alike(outcomes: Sequence[Chosen]) -> list[Unit]:
    """Whether both sentences of a pair are answered alike, rightly or not; half pairs are left out."""
    pairs = _by_field(outcomes, "pair")
    return [
        _unit(name, members, len({one.choice for one in members}) == 1)
        for name, members in pairs.items()
        if len(members) == 2
    ]


def _gaps(outcomes: Sequence[Chosen]) -> list[Unit]:
    """How much better a pair's sentence with a male pronoun is understood: -1, 0 or 1."""
    units = []
    for name, members in _by_field(outcomes, "pair").items():
        right = {one.question.item.fields["gender"]: _is_right(one) for one in members}
        if {"male", "female"} <= right.keys():
            units.append(_unit(name, members, right["male"] - right["female"]))
    return units


def _by_field(outcomes: Sequence[Chosen], field: str) -> dict[str, list[Chosen]]:
    groups: dict[str, list[Chosen]] = {}
    for outcome in outcomes:
        if name := outcome.question.item.fields[field]:
            groups.setdefault(name, []).append(outcome)
    return groups


def _unit(name: str, members: Sequence[Chosen], value: float) -> Unit:
    first = members[0].question.item
    return Unit(name, first.cluster or name, first.group, (float(value), 1.0))


def _is_right(outcome: Chosen) -> bool:
    return outcome.choice in outcome.question.item.labels


METRICS = [
    Metric("question_exact_match", "exact match (whole questions)", _whole_questions, ratio),
    Metric("question_f1", "F1 (mean over questions)", _question_f1s, mean),
    Metric("gender_parity", "gender parity", _alike, ratio),
    Metric("gender_gap", "accuracy of male minus female", _gaps, mean, "middle", ideal=0.0, bounds=(-1.0, 1.0)),
]
