"""Arithmetic of printed numbers, which are rounded."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping

from glm130b.evaluation.audit.formula import evaluate, names_in


def half_unit(decimals: int) -> float:
    """How far a printed number may be from what was measured."""
    return 10.0**-decimals / 2


def mean(cells: Mapping[str, float], weights: Mapping[str, float] | Mapping[str, int] | None = None) -> float:
    """The mean of cells, all alike or weighted by row; weights need not add up to anything.

    Raises:
        ValueError: no cell.
        KeyError: a row without a weight.
    """
    if not cells:
        raise ValueError("there is no mean of no cells")
    if weights is None:
        return math.fsum(cells.values()) / len(cells)
    return math.fsum(cell * weights[row] for row, cell in cells.items()) / math.fsum(weights[row] for row in cells)


def count_of(percentage: float, size: int) -> int:
    """The whole number of items nearest to a percentage."""
    return round(percentage * size / 100)


def prints_as(count: int, size: int, percentage: float, decimals: int) -> bool:
    """Whether a share is printed as this percentage if it is rounded, or cut off."""
    beyond = (100 * count / size - percentage) * 10.0**decimals
    return -0.5 - 1e-6 <= beyond < 1 - 1e-6


def is_whole(percentage: float, size: int, decimals: int) -> bool:
    """Whether some whole number of items is printed as this percentage."""
    near = count_of(percentage, size)
    return any(prints_as(count, size, percentage, decimals) for count in (near - 1, near, near + 1))


def chance_of_whole(size: int, decimals: int) -> float:
    """Which share of all percentages with so many decimals are whole numbers of items: 1 tells nothing."""
    unit = int(10.0**decimals)
    if size >= 100 * unit:
        return 1.0
    printed = {(200 * count * unit + size) // (2 * size) for count in range(size + 1)}
    printed |= {100 * count * unit // size for count in range(size + 1)}
    return len(printed) / (100 * unit + 1)


def range_of(formula: str, values: Mapping[str, float], slack: float) -> tuple[float, float]:
    """The least and largest value of a formula if each variable may be ``slack`` larger or smaller.

    At the corners of that box, which is right for formulas that rise or fall all the way in each variable.
    """
    names = names_in(formula)
    found = [
        evaluate(formula, {name: values[name] + sign * slack for name, sign in zip(names, signs, strict=True)})
        for signs in itertools.product((-1, 1), repeat=len(names))
    ]
    return min(found), max(found)
