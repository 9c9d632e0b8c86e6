"""What a metric is: vectors, one a unit, and a function of their sums."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from glm130b.evaluation.items import Better, Outcome, Unit

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Metric:
    """One number about many outcomes.

    Attributes:
        name: as task files call it.
        title: as tables call it, with the variant where there are several: ``F1 (official, characters)``.
        units: outcomes of one measurement to vectors, one for each unit that could have come out otherwise by
            itself: an item, or a question with all its answers.
        value: sums of the vectors, float64 ``[..., P]``, to values ``[...]``; nan where it is undefined.
        better: which direction is good; ``middle`` for scores whose ideal is in between.
        percent: whether tables show it times 100.
        ideal: of ``middle`` scores.
        bounds: smallest and largest value there can be; default 0 to 1 for what is shown times 100, else from 0.
    """

    name: str
    title: str
    units: Callable[[Sequence[Any]], list[Unit]]
    value: Callable[[Floats], Floats]
    better: Better = "higher"
    percent: bool = True
    ideal: float | None = None
    bounds: tuple[float, float] | None = None

    def clipped(self, value: float) -> float:
        """The value, or the nearest there can be: the end of an interval may lie beyond."""
        low, high = self.bounds or (0.0, 1.0 if self.percent else math.inf)
        return min(max(value, low), high) if math.isfinite(value) else value

    @property
    def is_ratio(self) -> bool:
        """Whether the value is the sum of first parts over that of second parts: a share if each unit counts once."""
        return self.value is ratio


def ratio(sums: Floats) -> Floats:
    """First part over the second: a mean where the second part is 1 for each unit."""
    with np.errstate(invalid="ignore", divide="ignore"):
        quotient: Floats = np.where(sums[..., 1] == 0, np.nan, sums[..., 0] / sums[..., 1])
    return quotient


def mean(sums: Floats) -> Floats:
    """First part over the second, of numbers that are no shares: F1s, differences."""
    return ratio(sums)


def unit_of(outcome: Outcome, *parts: float) -> Unit:
    """The unit of an outcome that stands for itself."""
    item = outcome.question.item
    return Unit(item.id, item.cluster or item.id, item.group, tuple(map(float, parts)))
