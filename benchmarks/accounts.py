"""Where the time of one rank goes, as its main thread sees it."""

from __future__ import annotations

import functools
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch.distributed as dist
from torch.distributed import _functional_collectives as functional
from torch.distributed.pipelining import schedules


class Accounts:
    """Seconds by account; at any moment one account runs.

    ``watch`` books what blocks: waiting for a message between stages as ``bubble``, for anything else of
    ``torch.distributed`` as ``communication``. Over Gloo that is all the waiting there is, a transfer's own time
    and that for slower ranks together; what Gloo's threads take from the cores meanwhile is not seen. On GPUs
    nothing blocks but the device: see ``exposed``.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._name, self._since = "other", time.perf_counter()
        self._thread = threading.get_ident()

    def switch(self, name: str) -> str:
        """Let account ``name`` run from now on; the one that ran before."""
        now, before = time.perf_counter(), self._name
        self.seconds[before] += now - self._since
        self._name, self._since = name, now
        return before

    def beat(self, phase: str, _step: int) -> None:
        """Let the account of a phase of ``Trainer.step`` run."""
        self.switch("computation" if phase == "forward-backward" else phase)

    @contextmanager
    def running(self, name: str) -> Iterator[None]:
        """Let account ``name`` run within the block."""
        before = self.switch(name)
        try:
            yield
        finally:
            self.switch(before)

    def take(self) -> dict[str, float]:
        """The seconds since the last call."""
        self.switch(self._name)
        taken = dict(self.seconds)
        self.seconds.clear()
        return taken

    def watch(self) -> None:
        """Book what blocks, in this process, from now on."""
        schedules._wait_batch_p2p = self._booked("bubble", schedules._wait_batch_p2p)
        functional.wait_tensor = self._booked("communication", functional.wait_tensor)
        dist.Work.wait = self._booked("communication", dist.Work.wait)

    def _booked(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def booked(*arguments: Any, **options: Any) -> Any:
            if threading.get_ident() != self._thread or self._name == "bubble":
                return function(*arguments, **options)
            with self.running(name):
                return function(*arguments, **options)

        return booked


def exposed(kernels: list[tuple[str, float, float]]) -> dict[str, float]:
    """Seconds in which a GPU did nothing but communicate.

    Args:
        kernels: name, start and end in seconds of each kernel on any stream.

    Returns:
        ``bubble``, of sending and receiving between stages, and ``communication``, of all other NCCL kernels; of
        times when several kinds of kernels run, computation has precedence, then communication.
    """
    kinds = ("computation", "communication", "bubble")
    intervals: dict[str, list[tuple[float, float]]] = {kind: [] for kind in kinds}
    for name, start, end in kernels:
        nccl = "nccl" in name.lower()
        intervals["computation" if not nccl else "bubble" if "SendRecv" in name else "communication"].append(
            (start, end)
        )
    covered, found, before = [], {}, 0.0
    for kind in kinds:
        covered += intervals[kind]
        found[kind] = _union(covered) - before
        before += found[kind]
    return {kind: found[kind] for kind in kinds[1:]}


def _union(intervals: list[tuple[float, float]]) -> float:
    """Length of what the intervals cover."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(intervals):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total
