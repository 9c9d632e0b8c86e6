"""Scores of choices among fixed classes: functions of the summed confusion matrix.

A unit's parts are the matrix of one item, flattened: ``parts[right * K + chosen]`` of K classes is 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt

import numpy as np

from glm130b.errors import ConfigError
from glm130b.evaluation.items import Chosen, Unit
from glm130b.evaluation.metrics.metric import Floats, Metric, unit_of


def _confusions(outcomes: Sequence[Chosen]) -> list[Unit]:
    classes = max((len(outcome.scores) for outcome in outcomes), default=0)
    return [_confusion(outcome, classes) for outcome in outcomes]


def _confusion(outcome: Chosen, classes: int) -> Unit:
    item = outcome.question.item
    if len(item.labels) != 1:
        raise ConfigError(
            f"Item {item.id} has {len(item.labels)} right options, and an F1 over classes needs one.",
            "Choose another metric in the task's file.",
        )
    parts = [0.0] * classes**2
    parts[item.labels[0] * classes + outcome.choice] = 1.0
    return unit_of(outcome, *parts)


def _matrix(sums: Floats) -> Floats:
    """Flat sums ``[..., K * K]`` to ``[..., K, K]``: right class by chosen class."""
    classes = isqrt(sums.shape[-1])
    return sums.reshape(*sums.shape[:-1], classes, classes)


def _class_f1(sums: Floats) -> Floats:
    """F1 of each class, ``[..., K]``; nan for a class that neither occurs nor is chosen."""
    matrix = _matrix(sums)
    right = np.diagonal(matrix, axis1=-2, axis2=-1)
    return _quotient(2 * right, matrix.sum(-1) + matrix.sum(-2))


def _f1_binary(sums: Floats) -> Floats:
    f1: Floats = _class_f1(sums)[..., 1]
    return f1


def _f1_macro(sums: Floats) -> Floats:
    f1 = _class_f1(sums)
    return _quotient(np.nansum(f1, axis=-1), np.sum(~np.isnan(f1), axis=-1))


def _f1_micro(sums: Floats) -> Floats:
    matrix = _matrix(sums)
    return _quotient(np.trace(matrix, axis1=-2, axis2=-1), matrix.sum((-2, -1)))


def _mcc(sums: Floats) -> Floats:
    """R_K of Gorodkin (2004), which is Matthews' coefficient for two classes; 0 if all are chosen alike."""
    matrix = _matrix(sums)
    total, right = matrix.sum((-2, -1)), np.trace(matrix, axis1=-2, axis2=-1)
    actual, chosen = matrix.sum(-1), matrix.sum(-2)
    covariance = right * total - (actual * chosen).sum(-1)
    spread = np.sqrt((total**2 - (chosen**2).sum(-1)) * (total**2 - (actual**2).sum(-1)))
    return np.where(total == 0, np.nan, np.where(spread == 0, 0.0, _quotient(covariance, spread)))


def _quotient(numerator: Floats, denominator: Floats) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        quotient: Floats = np.where(denominator == 0, np.nan, numerator / denominator)
    return quotient


METRICS = [
    Metric("f1_binary", "F1 (of option 2)", _confusions, _f1_binary),
    Metric("f1_macro", "F1 (macro)", _confusions, _f1_macro),
    Metric("f1_micro", "F1 (micro)", _confusions, _f1_micro),
    Metric("mcc", "Matthews correlation", _confusions, _mcc, bounds=(-1.0, 1.0)),
]
