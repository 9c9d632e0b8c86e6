"""Intervals of any function of sums by resampling clusters, and the test that flips them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from glm130b.evaluation.statistics.clusters import ClusterSums, Floats, Integers
from glm130b.evaluation.statistics.distributions import normal_quantile
from glm130b.evaluation.statistics.paired import student_quantile

_BLOCK = 1 << 22
_FEW = 10
_ENUMERATED = 12
_LEVEL = 0.975


@dataclass(frozen=True)
class Spread:
    """How far a number may be from the true one.

    Attributes:
        low, high: ends of the 95 % interval, nan where there is too little to tell, or nothing varies.
        error: standard error, nan likewise.
        method: how the interval was made.
    """

    low: float
    high: float
    error: float
    method: str


def bootstrap(sums: ClusterSums, *, less: ClusterSums | None = None, replicates: int = 2000, seed: int = 0) -> Spread:
    """The interval of a metric, or of its difference between two systems on the same units.

    Clusters are drawn with replacement, all their units together, and for both systems the same. The interval is
    Efron's BCa (Journal of the American Statistical Association 82, 1987) rather than the plain percentiles, because
    perplexities and F1 are skewed and biased in small samples, and the acceleration costs no more than one call of the
    metric: sums without one cluster are all sums less its own. Its nominal points are those of Student's t, wider
    with few clusters, as Hesterberg does for percentiles (The American Statistician 69, 2015). Fewer than ten degrees
    of freedom are too few to resample: there it is the jackknife's standard error with Student's t.

    Args:
        less: the system whose values are subtracted; clusters and groups are the same.
    """

    def values(weights: Floats) -> Floats:
        return sums.values(weights) - (less.values(weights) if less else 0)

    point = sums.point - (less.point if less else 0)
    without = sums.without_each() - (less.without_each() if less else 0)
    sizes = np.bincount(sums.strata)
    freedom = sums.clusters - len(sizes)
    if freedom < 1 or not math.isfinite(point):
        return Spread(math.nan, math.nan, math.nan, "none")
    if freedom < _FEW:
        return _jackknife(point, without, sums.strata, freedom)
    drawn = np.concatenate([values(weights) for weights in _weights(sums.strata, replicates, seed)])
    drawn = np.sort(drawn[np.isfinite(drawn)])
    error = float(drawn.std(ddof=1)) if 2 * len(drawn) > replicates else math.nan
    if not error > 1e-12 * abs(point):
        return Spread(math.nan, math.nan, math.nan, "none")
    widened = student_quantile(_LEVEL, freedom) * math.sqrt(sums.clusters / freedom)
    low, high = _bca(drawn, point, _influence(without, sums.strata), widened)
    return Spread(low, high, error, "cluster bootstrap (BCa)")


def flip_test(first: ClusterSums, second: ClusterSums, *, replicates: int = 10_000, seed: int = 0) -> float:
    """Two-sided p-value of the difference between two systems on the same units.

    If the systems were alike, it would not matter whose answers to a cluster are called whose. So they are exchanged
    for random clusters, and the p-value is how often the difference is then as large as the real one (Fisher's
    randomisation test; Noreen, Computer-Intensive Methods for Testing Hypotheses, 1989). It holds for any metric,
    keeps the units of a cluster together and is exact, which a bootstrap's p-value is not. All exchanges are tried if
    at most twelve clusters differ.

    Args:
        first, second: with the same clusters and groups.
    """
    observed = abs(second.point - first.point)
    if not math.isfinite(observed):
        return math.nan
    differing = first.differing(second)
    exact = differing.size <= _ENUMERATED
    as_large = total = 0
    for flips in _flips(differing.size, first.clusters, None if exact else replicates, seed):
        swapped = np.zeros((len(flips), first.clusters))
        swapped[:, differing] = flips
        changed = second.mixed(first, swapped) - first.mixed(second, swapped)
        as_large += int((np.abs(changed) >= observed * (1 - 1e-9)).sum())
        total += len(flips)
    return as_large / total if exact else (as_large + 1) / (total + 1)


def _flips(count: int, width: int, replicates: int | None, seed: int) -> Iterator[Integers]:
    """Zeros and ones, ``[block, count]``: random ones, or all there are where ``replicates`` is None."""
    draws, done = np.random.default_rng(seed), 0
    for size in _blocks(replicates or 1 << count, width):
        numbers = np.arange(done, done + size)[:, None]
        yield draws.integers(0, 2, (size, count)) if replicates else numbers >> np.arange(count) & 1
        done += size


def _weights(strata: Integers, replicates: int, seed: int) -> Iterator[Floats]:
    """How often each cluster is drawn: ``[block, clusters]``, ``replicates`` rows in all."""
    draws = np.random.default_rng(seed)
    members = [np.flatnonzero(strata == stratum) for stratum in range(int(strata.max()) + 1)]
    for size in _blocks(replicates, len(strata)):
        counts = np.zeros(size * len(strata), dtype=np.int64)
        for inside in members:
            picked = inside[draws.integers(0, len(inside), (size, len(inside)))]
            counts += np.bincount((picked + np.arange(size)[:, None] * len(strata)).ravel(), minlength=len(counts))
        yield counts.reshape(size, -1).astype(np.float64)


def _blocks(replicates: int, width: int) -> Iterator[int]:
    most = max(1, _BLOCK // max(1, width))
    for start in range(0, replicates, most):
        yield min(most, replicates - start)


def _influence(without: Floats, strata: Integers) -> Floats:
    """How far each cluster moves the metric from the mean of its stratum."""
    means = np.bincount(strata, without) / np.bincount(strata)
    moves: Floats = means[strata] - without
    return moves


def _jackknife(point: float, without: Floats, strata: Integers, freedom: int) -> Spread:
    sizes = np.bincount(strata)[strata]
    variance = float(((sizes - 1) / sizes * _influence(without, strata) ** 2).sum())
    if not variance > (1e-12 * point) ** 2:
        return Spread(math.nan, math.nan, math.nan, "none")
    half = student_quantile(_LEVEL, freedom) * math.sqrt(variance)
    return Spread(point - half, point + half, math.sqrt(variance), "jackknife t")


def _bca(drawn: Floats, point: float, influence: Floats, widened: float) -> tuple[float, float]:
    """Ends of the interval; ``drawn`` is sorted, ``widened`` is the nominal point of its upper end."""
    below = (float((drawn < point).sum()) + float((drawn <= point).sum())) / 2 / len(drawn)
    edge = 1 / (len(drawn) + 1)
    bias = normal_quantile(min(1 - edge, max(edge, below)))
    cubes, squares = float((influence**3).sum()), float((influence**2).sum())
    skew = cubes / (6 * squares**1.5) if math.isfinite(cubes) and squares > 0 else 0.0
    ends = []
    for nominal in (-widened, widened):
        shifted = bias + nominal
        stretch = 1 - skew * shifted
        ends.append(_normal_below(bias + shifted / stretch) if stretch > 0 else float(nominal > 0))
    low, high = np.quantile(drawn, ends)
    return float(low), float(high)


def _normal_below(z: float) -> float:
    return math.erfc(-z / math.sqrt(2)) / 2
