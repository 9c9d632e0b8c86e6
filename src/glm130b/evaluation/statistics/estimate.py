"""A metric of many units with its interval: which one fits which metric."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from glm130b.evaluation.items import Estimate, Unit
from glm130b.evaluation.statistics.clusters import ClusterSums
from glm130b.evaluation.statistics.distributions import normal_quantile
from glm130b.evaluation.statistics.power import effect_of_error, effect_unpaired
from glm130b.evaluation.statistics.proportions import (
    effective_count,
    exact_interval,
    mean_of_shares,
    wilson_interval,
)
from glm130b.evaluation.statistics.resampling import bootstrap

if TYPE_CHECKING:
    from glm130b.evaluation.metrics import Metric

Aggregate = Literal["micro", "macro"]
_Z = normal_quantile(0.975)
_MANY = 300


def estimate(
    units: Sequence[Unit], metric: Metric, aggregate: Aggregate = "micro", *, replicates: int = 2000, seed: int = 0
) -> Estimate:
    """A metric and its 95 % interval.

    Shares of independent units have an exact interval below 300 of them, where the score interval may hold the true
    share too rarely, and Wilson's from there. Where units share a passage or a text it is Wilson's for as many
    independent units as tell as much (``effective_count``): unlike a bootstrap it has a width where all are right, and
    takes no draws. Macro averages of shares put the groups' intervals together (``mean_of_shares``). Every other
    metric is bootstrapped by clusters, within groups for macro averages.

    Args:
        aggregate: of all units, or the mean over groups.
        replicates, seed: of the bootstrap.

    Returns:
        The estimate. Its ends are nan where there is too little to tell: a single document, or no spread at all in a
        metric that is no share; all of it is nan where the metric is undefined.
    """
    if not units:
        return Estimate(math.nan, math.nan, math.nan, "none", 0, 0)
    macro = aggregate == "macro"
    sums = ClusterSums(units, metric.value, macro=macro)
    size = len(units), sums.clusters
    if not math.isfinite(sums.point):
        return Estimate(math.nan, math.nan, math.nan, "none", *size)
    share = is_share(units, metric)
    if share and not sums.straddled:
        low, high, method, effect = _by_group(units) if macro else _share(units)
        return Estimate(sums.point, low, high, method, *size, effect)
    spread = bootstrap(sums, replicates=replicates, seed=seed)
    if share and math.isnan(spread.error):
        low, high = exact_interval(round(sums.point * sums.clusters), sums.clusters)
        return Estimate(sums.point, low, high, "exact (clusters)", *size)
    effect = effect_of_error(math.sqrt(2) * spread.error)
    low, high = metric.clipped(spread.low), metric.clipped(spread.high)
    return Estimate(sums.point, low, high, spread.method, *size, effect)


def value_of(units: Sequence[Unit], metric: Metric, aggregate: Aggregate = "micro") -> float:
    """A metric of units without its interval; nan where it is undefined or there are none."""
    return ClusterSums(units, metric.value, macro=aggregate == "macro").point if units else math.nan


def is_share(units: Sequence[Unit], metric: Metric) -> bool:
    """Whether each unit is right or wrong, rather than right in part as in a mean of F1 scores."""
    return metric.is_ratio and all(unit.parts[1] == 1 and unit.parts[0] in (0, 1) for unit in units)


def _share(units: Sequence[Unit]) -> tuple[float, float, str, float]:
    by_cluster: dict[str, list[float]] = defaultdict(list)
    for unit in units:
        by_cluster[unit.cluster].append(unit.parts[0])
    right, count = sum(map(sum, by_cluster.values())), float(len(units))
    if len(by_cluster) < len(units):
        sizes = [float(len(values)) for values in by_cluster.values()]
        count = effective_count([sum(values) for values in by_cluster.values()], sizes)
        right *= count / len(units)
        (low, high), method = wilson_interval(right, count), "wilson (clusters)"
    elif count < _MANY:
        (low, high), method = exact_interval(int(right), int(count)), "exact"
    else:
        (low, high), method = wilson_interval(right, count), "wilson"
    inner = (right + _Z**2 / 2) / (count + _Z**2)
    return low, high, method, effect_unpaired(inner, count)


def _by_group(units: Sequence[Unit]) -> tuple[float, float, str, float]:
    groups: dict[str, list[Unit]] = defaultdict(list)
    for unit in units:
        groups[unit.group].append(unit)
    parts = [_share(members) for members in groups.values()]
    shares = [sum(unit.parts[0] for unit in members) / len(members) for members in groups.values()]
    low, high = mean_of_shares(shares, [part[:2] for part in parts])
    method = " and ".join(sorted({part[2] for part in parts})) + (" by group" if len(parts) > 1 else "")
    return low, high, method, effect_of_error(math.sqrt(2) * (high - low) / 2 / _Z)
