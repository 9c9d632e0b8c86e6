"""How sure the mean of paired differences is."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

_STEPS = 1 << 16


@dataclass(frozen=True)
class Interval:
    """A mean and the interval that holds the true one with the confidence asked for.

    The ends are infinite where a stratum of one value leaves nothing to tell its spread from.
    """

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Change:
    """What became of a measurement on the same items, such as losses on the same sequences.

    Attributes:
        count: items.
        before, after: means.
        difference: of the pairs, after less before.
    """

    count: int
    before: float
    after: float
    difference: Interval


def paired_changes(before: Mapping[str, Sequence[float]], after: Mapping[str, Sequence[float]]) -> dict[str, Change]:
    """Compare two measurements of the same items, stratum by stratum.

    Args:
        before, after: a value an item, in the same order, by stratum.

    Returns:
        The change of each stratum and, last and called ``all``, of the mean over strata.

    Raises:
        ValueError: the strata or their sizes differ, or there are none.
    """
    if before.keys() != after.keys() or any(len(before[name]) != len(after[name]) for name in before):
        raise ValueError("only measurements of the same items can be compared")
    differences = {
        name: [late - early for early, late in zip(values, after[name], strict=True)] for name, values in before.items()
    }
    found = {}
    for name, values in differences.items():
        means = statistics.fmean(before[name]), statistics.fmean(after[name])
        found[name] = Change(len(values), *means, mean_interval([values]))
    found["all"] = Change(
        sum(change.count for change in found.values()),
        statistics.fmean(change.before for change in found.values()),
        statistics.fmean(change.after for change in found.values()),
        mean_interval(list(differences.values())),
    )
    return found


def mean_interval(strata: Sequence[Sequence[float]], confidence: float = 0.95) -> Interval:
    """The mean over strata of the means of their values, which are drawn independently.

    Of differences in pairs and one stratum it is the paired t interval. Several strata are each a sample of its own:
    variances of their means are added, with Satterthwaite's degrees of freedom (Biometrics Bulletin 2, 1946).

    Args:
        strata: values, such as the differences of two models' losses on the sequences of one source.

    Raises:
        ValueError: there is no stratum, or an empty one.
    """
    if not strata or not all(strata):
        raise ValueError("an interval needs values in every stratum")
    mean = statistics.fmean(statistics.fmean(values) for values in strata)
    if any(len(values) == 1 for values in strata):
        return Interval(mean, -math.inf, math.inf)
    variances = [statistics.variance(values) / len(values) for values in strata]
    total = sum(variances)
    if total == 0:
        return Interval(mean, mean, mean)
    shares = sum((part / total) ** 2 / (len(values) - 1) for part, values in zip(variances, strata, strict=True))
    half = student_quantile((1 + confidence) / 2, 1 / shares) * math.sqrt(total) / len(strata)
    return Interval(mean, mean - half, mean + half)


def student_quantile(probability: float, freedom: float) -> float:
    """The value that Student's t with ``freedom`` degrees stays below with this probability of 0.5 or more.

    With t = sqrt(freedom) tan(angle) the density is a power of a cosine; it is summed numerically, to about 1e-4
    of the value for probabilities up to 0.999.

    Raises:
        ValueError: a probability outside 0.5 to 1, or less than one degree of freedom.
    """
    if not 0.5 <= probability < 1 or freedom < 1:
        raise ValueError(f"no quantile of Student's t for {probability} and {freedom} degrees of freedom")
    widest = min(math.pi / 2, 40 / math.sqrt(freedom))
    ends = np.linspace(0, widest, _STEPS + 1)
    density = np.cos((ends[1:] + ends[:-1]) / 2) ** (freedom - 1)
    mass = np.concatenate(([0.0], np.cumsum(density)))
    angle = np.interp((2 * probability - 1) * mass[-1], mass, ends)
    return math.sqrt(freedom) * math.tan(float(angle))
