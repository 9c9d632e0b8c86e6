"""Whether two systems differ on the same units."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from glm130b.errors import DataError
from glm130b.evaluation.items import Better, Unit
from glm130b.evaluation.metrics import Metric
from glm130b.evaluation.statistics import (
    Aggregate,
    ClusterSums,
    bootstrap,
    effect_of_error,
    effect_paired,
    flip_test,
    holm,
    is_share,
    mcnemar,
    paired_difference,
    value_of,
)

LEVEL = 0.05


@dataclass(frozen=True)
class Comparison:
    """Two systems on the same units.

    Attributes:
        first, second: values of the metric; ``difference`` is the second less the first.
        low, high: the 95 % interval of the difference; nan where there is too little to tell.
        p_value: two-sided; nan where the metric is undefined.
        test: how the p-value was found.
        units, clusters: measurements, and how many of them are independent.
        first_better, second_better: units on which that system alone has the larger value; of shares, the discordant
            pairs.
        minimal_effect: the smallest difference that would have been found with 80 % power at 5 %.
    """

    first: float
    second: float
    difference: float
    low: float
    high: float
    p_value: float
    test: str
    units: int
    clusters: int
    first_better: int
    second_better: int
    minimal_effect: float
    better: Better
    percent: bool
    ideal: float | None = None

    def verdict(self, first: str = "A", second: str = "B", *, p_value: float | None = None) -> str:
        """What was found, in a sentence.

        Args:
            p_value: adjusted for other tests; None takes the comparison's own.
        """
        p = self.p_value if p_value is None else p_value
        if math.isnan(p):
            return "The metric is undefined here."
        if not p < LEVEL:
            if self.difference == 0 and self.first_better == self.second_better == 0:
                return f"{first} and {second} are alike on every item."
            found = f"one of {self._amount(self.minimal_effect)} would have been"
            return "No difference was found" + (f"; {found}." if math.isfinite(self.minimal_effect) else ".")
        amount = self._amount(abs(self.difference))
        if math.isfinite(self.low):
            near, far = sorted((self.low, self.high), key=lambda end: end * self.difference)
            sign = math.copysign(1, self.difference)
            amount += f" ({self._plain(sign * near)} to {self._plain(sign * far)})"
        if self.better == "middle":
            ideal = self.ideal or 0.0
            nearer = second if abs(self.second - ideal) < abs(self.first - ideal) else first
            return f"They differ by {amount}; {nearer} is nearer to {self._plain(ideal)}."
        return f"{second if (self.difference > 0) == (self.better == 'higher') else first} is better by {amount}."

    def _plain(self, value: float) -> str:
        scaled = 100 * value if self.percent else value
        return f"{scaled:.1f}" if self.percent and abs(scaled) >= 0.05 else f"{scaled:.3g}"

    def _amount(self, value: float) -> str:
        return self._plain(value) + (" points" if self.percent else "")


@dataclass(frozen=True)
class Row:
    """One comparison of a suite.

    Attributes:
        adjusted: p-value after Holm's correction for the suite.
        tied: whether the systems cannot be told apart.
    """

    name: str
    comparison: Comparison
    adjusted: float
    tied: bool
    verdict: str


def compare(
    first: Sequence[Unit],
    second: Sequence[Unit],
    metric: Metric,
    aggregate: Aggregate = "micro",
    *,
    replicates: int = 2000,
    seed: int = 0,
) -> Comparison:
    """Compare two systems on the same units.

    Shares of independent units are compared by McNemar's exact test, with Bonett and Price's interval. Everything
    else, and shares whose units come in clusters, by flipping clusters (``flip_test``, five times ``replicates``
    unless all flips can be tried), with the interval of a paired cluster bootstrap. The flip test holds for any metric
    and is exact with few clusters, where a bootstrap's p-value is too small.

    Args:
        first, second: in any order; clusters and groups are taken from ``first``.

    Raises:
        DataError: the units are not the same, or there are none.
    """
    second = _aligned(first, second)
    macro = aggregate == "macro"
    one, other = (ClusterSums(units, metric.value, macro=macro) for units in (first, second))
    values = [metric.value(_parts(units)) for units in (first, second)]
    wins = int((values[0] > values[1]).sum()), int((values[1] > values[0]).sum())
    share, independent = is_share([*first, *second], metric), one.clusters == len(first)
    if share and independent and not macro:
        low, high = paired_difference(*wins, len(first))
        p_value, test = mcnemar(*wins), "McNemar, exact"
        effect = effect_paired(sum(wins), len(first))
    else:
        spread = bootstrap(other, less=one, replicates=replicates, seed=seed)
        low, high, effect = spread.low, spread.high, effect_of_error(spread.error)
        if share and math.isnan(spread.error):
            low, high = paired_difference(0, 0, one.clusters)
            effect = effect_paired(0, one.clusters)
        p_value = flip_test(one, other, replicates=5 * replicates, seed=seed)
        test = "none" if math.isnan(p_value) else "flipped clusters"
    return Comparison(
        one.point,
        other.point,
        other.point - one.point,
        low,
        high,
        p_value,
        test,
        len(first),
        one.clusters,
        *wins,
        min(effect, 1.0) if share else effect,
        metric.better,
        metric.percent,
        metric.ideal,
    )


def compare_suite(comparisons: Mapping[str, Comparison], first: str = "A", second: str = "B") -> list[Row]:
    """Comparisons of two systems on several tasks, with p-values that allow for there being several."""
    adjusted = holm([comparison.p_value for comparison in comparisons.values()])
    rows = []
    for (name, comparison), p_value in zip(comparisons.items(), adjusted, strict=True):
        verdict = comparison.verdict(first, second, p_value=p_value)
        if comparison.p_value < LEVEL <= p_value:
            verdict = comparison.verdict(first, second).removesuffix(".")
            verdict += f", but among {len(comparisons)} comparisons that may be chance."
        rows.append(Row(name, comparison, p_value, not p_value < LEVEL, verdict))
    return rows


def tied_with_best(
    systems: Mapping[str, Sequence[Unit]], metric: Metric, aggregate: Aggregate = "micro", *, seed: int = 0
) -> tuple[str, ...]:
    """The system with the best score, first, and all that cannot be told apart from it.

    Each is compared with the best, with Holm's correction for all pairs there are, since which one is best is seen
    from the same data.

    Raises:
        DataError: the systems have not the same units, or there are none.
        ValueError: no system.
    """
    names = list(systems)
    points = {name: value_of(systems[name], metric, aggregate) for name in names}
    best = min(names, key=lambda name: _distance(points[name], metric))
    found = {
        (one, other): compare(systems[one], systems[other], metric, aggregate, seed=seed).p_value
        for place, one in enumerate(names)
        for other in names[place + 1 :]
    }
    adjusted = dict(zip(found, holm(list(found.values())), strict=True))
    worse = {name for pair, p in adjusted.items() if best in pair and p < LEVEL for name in pair} - {best}
    return (best, *(name for name in names if name != best and name not in worse))


def _distance(value: float, metric: Metric) -> float:
    if math.isnan(value):
        return math.inf
    if metric.better == "middle":
        return abs(value - (metric.ideal or 0.0))
    return -value if metric.better == "higher" else value


def _parts(units: Sequence[Unit]) -> npt.NDArray[np.float64]:
    return np.array([unit.parts for unit in units], dtype=np.float64)


def _aligned(first: Sequence[Unit], second: Sequence[Unit]) -> list[Unit]:
    by_id = {unit.id: unit for unit in second}
    names = {unit.id for unit in first}
    only = len(names - by_id.keys()), len(by_id.keys() - names)
    if any(only):
        raise DataError(
            f"Only the same items can be compared: {only[0]} of {len(names)} are missing from the second result, "
            f"{only[1]} of {len(by_id)} from the first.",
            "Run both on the same data, without --limit or with the same one.",
        )
    if not names or len(names) < len(first) or len(by_id) < len(second):
        reason = "an item occurs twice" if names else "there are none"
        raise DataError(f"The items cannot be compared: {reason}.", "Run the evaluation anew.")
    return [Unit(unit.id, unit.cluster, unit.group, by_id[unit.id].parts) for unit in first]
