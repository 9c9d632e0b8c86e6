"""Weights used where they lie, in a memory-mapped file, one unit of them brought in ahead of the computation.

A *unit* is what is used together: the matrices of a layer, or the output matrix. Units are used in turn, again and
again. Of such an order the best that memory for some of them can do is to give up the one used last, whose next turn
is farthest off: the rest stay and need no reading.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from torch import Tensor

from glm130b.offload.pages import Resident, bring


class MappedUnits:
    """Keeps the process within its memory while units of mapped weights are used in turn.

    Args:
        units: mapped tensors.
        let_go: drops the pages of a unit.
        limit: bytes that the process may hold, all told.
        resident: what it holds.
    """

    def __init__(
        self,
        units: Sequence[Sequence[Tensor]],
        let_go: Callable[[Iterable[Tensor]], None],
        limit: int,
        *,
        resident: Callable[[], Resident] = Resident.now,
    ) -> None:
        self._units, self._drop, self._limit, self._resident = units, let_go, limit, resident
        self._sizes = [sum(tensor.nbytes for tensor in unit) for unit in units]
        self._current: int | None = None
        self._held: list[int] = []
        self._ahead: tuple[int, Future[None]] | None = None
        self._before = Resident(0, 0)
        self._arriving = self._working = 0
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="weights")

    @property
    def held(self) -> Sequence[int]:
        """Units kept, in the order they were last used; neither the one in use nor the one on its way."""
        return tuple(self._held)

    def enter(self, unit: int) -> None:
        """To be called before a unit is used: waits until it is there, and begins to bring in the next."""
        if unit == self._current:
            return
        if self._current is not None:
            self._held.append(self._current)
            if unit < self._current:
                self._working = 0  # another pass begins
        self._current = unit
        self._have(unit)
        following = (unit + 1) % len(self._units)
        self._arriving = 0 if following in (unit, *self._held) else self._sizes[following]
        if self._arriving:
            self._make_room(self._arriving + self._working)
            self._ahead = following, self._worker.submit(self._bring, following)
        self._before = self._resident()

    def at_fullest(self) -> None:
        """To be called where activations are largest: gives up units for them and, from now on, leaves them room."""
        self._working = max(self._working, self._resident().own - self._before.own)
        expected = self._before.total + self._arriving + self._working
        while self._held and expected > self._limit:
            expected -= self._sizes[self._held[-1]]
            self._drop(self._units[self._held.pop()])

    def _have(self, unit: int) -> None:
        if self._ahead is not None:
            arrived, future = self._ahead
            self._ahead = None
            future.result()
            if arrived == unit:
                return
            self._held.append(arrived)
        if unit in self._held:
            self._held.remove(unit)
        else:
            self._make_room(self._sizes[unit])
            self._bring(unit)

    def _make_room(self, size: int) -> None:
        while self._held and self._resident().total + size > self._limit:
            self._drop(self._units[self._held.pop()])

    def _bring(self, unit: int) -> None:
        for tensor in self._units[unit]:
            bring(tensor)
