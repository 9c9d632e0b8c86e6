"""P-values of several tests at once."""

from __future__ import annotations

import math
from collections.abc import Sequence


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted by Holm's method (Scandinavian Journal of Statistics 6, 1979), in the order given.

    If each is compared with 5 %, the chance of any false finding among them is 5 % at most, whatever their
    dependence. A nan stands for a test that could not be made: it stays, and does not count.
    """
    order = sorted((n for n, p in enumerate(p_values) if not math.isnan(p)), key=lambda n: p_values[n])
    adjusted, least = [math.nan] * len(p_values), 0.0
    for rank, n in enumerate(order):
        least = max(least, min(1.0, p_values[n] * (len(order) - rank)))
        adjusted[n] = least
    return adjusted
