"""How sure a share of right answers is, and whether two shares differ."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from glm130b.evaluation.statistics.distributions import at_least, normal_quantile, normal_two_sided, solve
from glm130b.evaluation.statistics.paired import student_quantile


def wilson_interval(right: float, count: float, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a share (Journal of the American Statistical Association 22, 1927).

    Args:
        right, count: need not be whole: both may have been made smaller for units that are not independent.

    Raises:
        ValueError: ``count`` is not positive, or ``right`` is outside 0 to ``count``.
    """
    _check(right, count)
    z = normal_quantile((1 + confidence) / 2)
    share, spread = right / count, z * z / count
    centre = share + spread / 2
    half = math.sqrt(spread * share * (1 - share) + spread * spread / 4)
    low, high = (centre - half) / (1 + spread), (centre + half) / (1 + spread)
    return (0.0 if right == 0 else low), (1.0 if right == count else high)


def exact_interval(right: int, count: int, confidence: float = 0.95) -> tuple[float, float]:
    """Clopper and Pearson's interval of a share (Biometrika 26, 1934), which holds it at least as often as it says.

    Raises:
        ValueError: as for Wilson's.
    """
    _check(right, count)
    tail = (1 - confidence) / 2
    low = solve(lambda share: at_least(right, count, share), tail) if right else 0.0
    high = solve(lambda share: at_least(right + 1, count, share), 1 - tail) if right < count else 1.0
    return low, high


def effective_count(right: Sequence[float], counts: Sequence[float]) -> float:
    """How many independent units tell as much about a share as these clusters of units do.

    Units of a cluster share a passage or a text. The variance of right/count is that of a ratio of sums over
    clusters, from their residuals (Kish, Survey Sampling, 1965), and few clusters make it uncertain itself, for which
    the count is lowered by the square of normal over Student's quantile (Korn and Graubard, Survey Methodology 24,
    1998). It is never more than the units. Where all are right, or none, residuals say nothing, and each cluster
    counts as one.

    Args:
        right, counts: of each cluster.
    """
    rights, sizes = np.asarray(right, dtype=np.float64), np.asarray(counts, dtype=np.float64)
    clusters, units = len(sizes), float(sizes.sum())
    share = float(rights.sum()) / units
    if clusters == 1 or share in (0.0, 1.0):
        return float(clusters)
    residuals = rights - share * sizes
    variance = clusters / (clusters - 1) * float(residuals @ residuals) / units**2
    shrink = (normal_quantile(0.975) / student_quantile(0.975, clusters - 1)) ** 2
    independent = share * (1 - share) / variance if variance > 0 else units
    return max(1.0, min(units, independent) * shrink)


def mean_of_shares(shares: Sequence[float], intervals: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Interval of the mean of independent shares from theirs.

    Squares of the distances from shares to limits are added as variances would be: Zou and Donner, Statistics in
    Medicine 27, 2008; for a difference of two shares it is Newcombe's tenth method. It has a width where all are right.
    """
    values, limits = np.asarray(shares), np.asarray(intervals)
    below = math.sqrt(float(((values - limits[:, 0]) ** 2).sum())) / len(values)
    above = math.sqrt(float(((limits[:, 1] - values) ** 2).sum())) / len(values)
    mean = float(values.mean())
    return max(0.0, mean - below), min(1.0, mean + above)


def two_shares(right: int, count: int, other_right: int, other_count: int) -> tuple[float, float]:
    """The pooled z test of two independent shares.

    Returns:
        z, positive where the first share is larger, and the two-sided p-value.

    Raises:
        ValueError: as for Wilson's interval.
    """
    _check(right, count)
    _check(other_right, other_count)
    pooled = (right + other_right) / (count + other_count)
    error = math.sqrt(pooled * (1 - pooled) * (1 / count + 1 / other_count))
    z = (right / count - other_right / other_count) / error if error else 0.0
    return z, normal_two_sided(z)


def paired_difference(only_first: float, only_second: float, count: float) -> tuple[float, float]:
    """The 95 % interval of the second share less the first, of answers to the same questions.

    Wald's interval after half a pair is added to each cell of the table (Bonett and Price, Journal of Educational and
    Behavioral Statistics 37, 2012); it has a width where the two never differ.

    Args:
        only_first, only_second: questions that only one of the two answers right.
    """
    first, second = (only_first + 1) / (count + 2), (only_second + 1) / (count + 2)
    half = normal_quantile(0.975) * math.sqrt((first + second - (second - first) ** 2) / (count + 2))
    return max(-1.0, second - first - half), min(1.0, second - first + half)


def _check(right: float, count: float) -> None:
    if not (count > 0 and 0 <= right <= count):
        raise ValueError(f"no share of {right} in {count}")
