"""Units summed by cluster and group: what a bootstrap draws from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from glm130b.evaluation.items import Unit

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Value = Callable[[Floats], Floats]
"""A metric: sums ``[..., P]`` to values ``[...]``."""


class ClusterSums:
    """Sums of units, one row for each pair of a cluster and a group that occurs.

    Args:
        units: at least one.
        value: the metric.
        macro: take the mean over groups of the value of each group's sums, rather than the value of all sums.

    Attributes:
        clusters: how many there are; they are numbered in the order in which they first occur.
        strata: int64 ``[clusters]``, from which each cluster is replaced by others of the same number when resampling:
            its first unit's group in macro averages, whose groups are fixed parts of a benchmark; zero otherwise, and
            if a group has one cluster only, which would be replaced by itself and seem certain.
    """

    def __init__(self, units: Sequence[Unit], value: Value, *, macro: bool = False) -> None:
        self._value = value
        names: dict[str, int] = {}
        groups: dict[str, int] = {}
        rows: dict[tuple[int, int], int] = {}
        first: list[int] = []
        of_units = np.empty(len(units), dtype=np.int64)
        for n, unit in enumerate(units):
            group = groups.setdefault(unit.group if macro else "", len(groups))
            cluster = names.setdefault(unit.cluster, len(names))
            if cluster == len(first):
                first.append(group)
            of_units[n] = rows.setdefault((cluster, group), len(rows))
        self._sums = np.zeros((len(rows), len(units[0].parts)))
        np.add.at(self._sums, of_units, np.array([unit.parts for unit in units], dtype=np.float64))
        self._clusters, self._groups = (np.array(column, dtype=np.int64) for column in zip(*rows, strict=True))
        self.clusters = len(names)
        strata = np.array(first, dtype=np.int64)
        alone = np.bincount(strata, minlength=len(groups)).min() < 2
        self.strata: Integers = np.zeros_like(strata) if alone else strata
        self._totals = np.zeros((len(groups), self._sums.shape[1]))
        np.add.at(self._totals, self._groups, self._sums)
        self._by_group = [np.flatnonzero(self._groups == group) for group in range(len(groups))]

    @property
    def straddled(self) -> bool:
        """Whether a cluster has units of several groups."""
        return len(self._sums) > self.clusters

    @property
    def point(self) -> float:
        """The metric; of several groups the mean, nan where it is undefined for one of them."""
        return float(self._value(self._totals).mean())

    def values(self, weights: Floats) -> Floats:
        """The metric where cluster c counts ``weights[r, c]`` times: ``[R, clusters]`` to ``[R]``.

        A group that is undefined under a weight is left out of its mean.
        """
        by_group = [self._value(weights[:, self._clusters[rows]] @ self._sums[rows]) for rows in self._by_group]
        return _mean_of_defined(np.stack(by_group))

    def differing(self, other: ClusterSums) -> Integers:
        """Numbers of the clusters whose sums are not the other's."""
        differ: Integers = np.unique(self._clusters[(self._sums != other._sums).any(1)])
        return differ

    def mixed(self, other: ClusterSums, swapped: Floats) -> Floats:
        """The metric where clusters with ``swapped[r, c]`` of 1 have the other's sums: ``[R, clusters]`` to ``[R]``."""
        by_group = []
        for rows in self._by_group:
            weights = swapped[:, self._clusters[rows]]
            by_group.append(self._value((1 - weights) @ self._sums[rows] + weights @ other._sums[rows]))
        return _mean_of_defined(np.stack(by_group))

    def without_each(self) -> Floats:
        """The metric with each cluster left out in turn: ``[clusters]``."""
        whole = self._value(self._totals)
        less = self._value(self._totals[self._groups] - self._sums)
        defined = np.bincount(self._clusters, np.isfinite(less).astype(np.float64) - 1, self.clusters) + len(whole)
        changes = np.where(np.isfinite(less), less, 0) - whole[self._groups]
        sums = whole.sum() + np.bincount(self._clusters, changes, self.clusters)
        with np.errstate(invalid="ignore", divide="ignore"):
            means: Floats = np.where(defined > 0, sums / defined, np.nan)
        return means


def _mean_of_defined(values: Floats) -> Floats:
    """Means over the first axis of what is finite; nan where nothing is."""
    finite = np.isfinite(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        means: Floats = np.where(finite, values, 0).sum(0) / finite.sum(0)
    return means
