"""Tails of the binomial distribution and quantiles of the normal one, without SciPy."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist

_TINY = 1e-300
_STEPS = 100_000


def normal_quantile(probability: float) -> float:
    """The value a standard normal variable stays below with this probability."""
    return NormalDist().inv_cdf(probability)


def normal_two_sided(z: float) -> float:
    """Probability of a standard normal variable at least this far from zero."""
    return math.erfc(abs(z) / math.sqrt(2))


def at_least(right: int, count: int, share: float) -> float:
    """Probability of ``right`` or more successes in ``count`` independent draws, each one with chance ``share``."""
    if right <= 0:
        return 1.0
    return incomplete_beta(right, count - right + 1, share) if right <= count else 0.0


def incomplete_beta(a: float, b: float, x: float) -> float:
    """The regularised incomplete beta function I_x(a, b) for positive a and b.

    By its continued fraction, evaluated from the front (Lentz, Applied Optics 15, 1976), to about 1e-10.
    """
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - incomplete_beta(b, a, 1 - x)
    scale = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    return math.exp(scale) / a * _fraction(a, b, x)


def _fraction(a: float, b: float, x: float) -> float:
    upper, lower = 1.0, 1 / _away(1 - (a + b) * x / (a + 1))
    value = lower
    for m in range(1, _STEPS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            lower = 1 / _away(1 + term * lower)
            upper = _away(1 + term / upper)
            value *= upper * lower
        if abs(upper * lower - 1) < 1e-15:
            break
    return value


def _away(value: float) -> float:
    return value if abs(value) > _TINY else _TINY


def solve(function: Callable[[float], float], target: float) -> float:
    """Where a function that increases from 0 to 1 takes a value, by bisection."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if function(middle) < target else (low, middle)
    return (low + high) / 2
