"""The processes of one job, and small things said among all of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch.distributed as dist

T = TypeVar("T")

_PATIENCE = timedelta(hours=6)
"""Longer than any save; a rank that hangs is found by the watchdog, not here."""


@dataclass(frozen=True)
class World:
    """Who this process is among those of the job; as it stands, the only one.

    Attributes:
        rank, size: this process's number and how many there are.
        group: over which ``gather`` talks (Gloo, so that it never touches a GPU); None if alone.
    """

    rank: int = 0
    size: int = 1
    group: dist.ProcessGroup | None = None

    @classmethod
    def current(cls) -> World:
        """The world of the default process group; alone if there is none. Collective."""
        if not dist.is_initialized() or dist.get_world_size() == 1:
            return cls()
        group: Any = dist.new_group(backend="gloo", timeout=_PATIENCE)
        return cls(dist.get_rank(), dist.get_world_size(), group)

    def separate(self) -> World:
        """The same processes over a group of its own, for a thread that talks while others do. Collective."""
        return World.current()

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes what is written once."""
        return self.rank == 0

    def gather(self, value: T) -> list[T]:
        """Every process's value, in the order of ranks, on every process. Collective."""
        if self.group is None:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value, group=self.group)
        return values

    def barrier(self) -> None:
        """Wait until all have come here. Collective."""
        self.gather(None)
