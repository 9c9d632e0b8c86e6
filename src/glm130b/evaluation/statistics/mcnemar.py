"""McNemar's test: whether two systems answer the same questions equally well."""

from __future__ import annotations

import math

from glm130b.evaluation.statistics.distributions import at_least


def mcnemar(only_first: int, only_second: int, *, mid_p: bool = False) -> float:
    """Two-sided p-value from the questions that only one of two systems answers right.

    If the systems are equally good each of these is as likely to be the one's as the other's, so their number is
    binomial: the exact test, which errs on the safe side. Mid-p takes half of the probability of what was seen and
    keeps its level on average (Fagerland, Lydersen and Laake, BMC Medical Research Methodology 13, 2013).

    Raises:
        ValueError: a negative count.
    """
    if only_first < 0 or only_second < 0:
        raise ValueError(f"no questions can be {min(only_first, only_second)}")
    count, larger = only_first + only_second, max(only_first, only_second)
    if count == 0:
        return 1.0
    tail = at_least(larger, count, 0.5)
    if mid_p:
        seen = math.lgamma(count + 1) - math.lgamma(larger + 1) - math.lgamma(count - larger + 1)
        tail -= math.exp(seen - count * math.log(2)) / 2
    return min(1.0, 2 * tail)
