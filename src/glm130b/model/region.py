"""Rectangles of whole tensors: what one rank, or one file, holds of a tensor that is spread over several."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod


@dataclass(frozen=True)
class Region:
    """Rows ``start … stop`` of a tensor and, if it is a matrix, a stretch of its columns.

    Attributes:
        rows: half-open.
        columns: half-open; None for a vector.
    """

    rows: tuple[int, int]
    columns: tuple[int, int] | None = None

    @classmethod
    def whole(cls, shape: tuple[int, ...]) -> Region:
        """All of a vector or matrix."""
        return cls((0, shape[0]), (0, shape[1]) if len(shape) > 1 else None)

    @property
    def shape(self) -> tuple[int, ...]:
        """Its own shape."""
        rows = self.rows[1] - self.rows[0]
        return (rows,) if self.columns is None else (rows, self.columns[1] - self.columns[0])

    @property
    def num_values(self) -> int:
        """How many values it holds; none if it has no rows."""
        return prod(self.shape)

    @property
    def slices(self) -> tuple[slice, ...]:
        """What cuts it out of the whole tensor."""
        return (slice(*self.rows),) if self.columns is None else (slice(*self.rows), slice(*self.columns))

    def take_rows(self, start: int, stop: int) -> Region:
        """Its own rows ``start … stop``, counted from its first."""
        return Region((self.rows[0] + start, self.rows[0] + stop), self.columns)

    def overlap(self, other: Region) -> Region | None:
        """What two rectangles of the same tensor share, or None."""
        rows = (max(self.rows[0], other.rows[0]), min(self.rows[1], other.rows[1]))
        columns = None
        if self.columns is not None and other.columns is not None:
            columns = (max(self.columns[0], other.columns[0]), min(self.columns[1], other.columns[1]))
        if rows[0] >= rows[1] or (columns is not None and columns[0] >= columns[1]):
            return None
        return Region(rows, columns)

    def within(self, outer: Region) -> tuple[slice, ...]:
        """What cuts it out of a tensor that holds just ``outer``."""
        rows = slice(self.rows[0] - outer.rows[0], self.rows[1] - outer.rows[0])
        if self.columns is None or outer.columns is None:
            return (rows,)
        return (rows, slice(self.columns[0] - outer.columns[0], self.columns[1] - outer.columns[0]))


def covers(shape: tuple[int, ...], regions: Iterable[Region]) -> bool:
    """Whether rectangles lie inside a vector or matrix and hold each of its values exactly once."""
    whole = Region.whole(shape)
    passing: list[Region] = []  # those that reach the row of the one looked at
    num_values = 0
    for region in sorted(regions, key=lambda region: region.rows):
        passing = [other for other in passing if other.rows[1] > region.rows[0]]
        if region.overlap(whole) != region or any(other.overlap(region) for other in passing):
            return False
        passing.append(region)
        num_values += region.num_values
    return num_values == whole.num_values


def joined(regions: Sequence[Region]) -> list[Region]:
    """The same rows in the same order with as few rectangles as will do; those without rows are left out."""
    found: list[Region] = []
    for region in regions:
        if not region.num_values:
            continue
        last = found[-1] if found else None
        if last is not None and (last.rows[1], last.columns) == (region.rows[0], region.columns):
            found[-1] = Region((last.rows[0], region.rows[1]), region.columns)
        else:
            found.append(region)
    return found
