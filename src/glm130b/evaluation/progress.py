"""How far a run is, and when it will be done."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from glm130b.evaluation.items import Request, Write
from glm130b.evaluation.requests import tokens_of


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
        done, total: requests that differ; ``reused`` of them were answered before the run began.
        tokens_done, tokens_left: of this run.
        seconds: since it began.
        seconds_left: reckoned from the tokens left; None before the first batch.
    """

    done: int
    total: int
    reused: int
    tokens_done: int
    tokens_left: int
    seconds: float
    seconds_left: float | None

    @property
    def rate(self) -> float:
        """Requests answered a second."""
        return (self.done - self.reused) / self.seconds if self.seconds > 0 else 0.0


class Meter:
    """Counts what is answered.

    Reading and writing have a pace each, since a token takes many times longer to write than to read; one that
    has not been seen yet is taken to be the other's.
    """

    def __init__(self, waiting: Iterable[Request], reused: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._start = clock, clock()
        self._last, self._reused, self._done = self._start, reused, 0
        self._left = {True: 0, False: 0}
        self._tokens = {True: 0, False: 0}
        self._seconds = {True: 0.0, False: 0.0}
        self._total = reused
        for request in waiting:
            self._left[isinstance(request, Write)] += tokens_of(request)
            self._total += 1

    def answered(self, batch: Iterable[Request]) -> None:
        """Take note of a batch that was answered since the last call."""
        now = self._clock()
        writes = False
        for request in batch:
            writes = isinstance(request, Write)
            self._left[writes] -= tokens_of(request)
            self._tokens[writes] += tokens_of(request)
            self._done += 1
        self._seconds[writes] += now - self._last
        self._last = now

    def progress(self) -> Progress:
        """The state now."""
        tokens = sum(self._tokens.values())
        left = None
        if tokens:
            common = sum(self._seconds.values()) / tokens
            pace = {kind: self._seconds[kind] / count if count else common for kind, count in self._tokens.items()}
            left = sum(count * pace[kind] for kind, count in self._left.items())
        return Progress(
            done=self._reused + self._done,
            total=self._total,
            reused=self._reused,
            tokens_done=tokens,
            tokens_left=sum(self._left.values()),
            seconds=self._clock() - self._start,
            seconds_left=left,
        )
