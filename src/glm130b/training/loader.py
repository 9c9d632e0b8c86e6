"""Sequences in the order of the run: made between steps, or by processes that work ahead."""

from __future__ import annotations

import ctypes
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any

from torch.utils.data import DataLoader, Dataset

from glm130b.config import LoaderConfig
from glm130b.errors import GLMError, ResourceError
from glm130b.samples import SampleStream, sample_number
from glm130b.samples import Sequence as PackedSequence

_PR_SET_PDEATHSIG = 1


class Loader:
    """Hands out sequences one after the other; what they are does not depend on how they are made.

    Args:
        stream: makes sequence i.
        consumed: how many were handed out before, on all ranks together: the whole state.
        skip: stretches of numbers left out, ``data.skip``.
        part: (r, n): of each n sequences in a row, the r-th is this rank's. Which rank has which does not depend
            on how many a step takes.
    """

    def __init__(
        self,
        stream: SampleStream,
        config: LoaderConfig,
        consumed: int,
        skip: Sequence[tuple[int, int]] = (),
        part: tuple[int, int] = (0, 1),
    ) -> None:
        self.consumed = consumed
        self._stream, self._config, self._skip, self._part = stream, config, skip, part
        self._ahead: Iterator[PackedSequence | GLMError] | None = None
        if config.workers:
            self._ahead = iter(
                DataLoader(
                    _Guarded(stream),
                    batch_size=None,
                    sampler=_Numbers(consumed, skip, part),
                    num_workers=config.workers,
                    prefetch_factor=config.prefetch,
                    timeout=config.stall_seconds,
                    collate_fn=_unchanged,
                    worker_init_fn=_live_and_die_with_the_training,
                    # Memory maps are shared by a fork, and would be copied to a process started anew.
                    multiprocessing_context="fork",
                )
            )

    def take(self, number: int) -> tuple[list[int], list[PackedSequence], float]:
        """Of the next ``number`` sequences, this rank's: their places among them, and they; and the seconds waited.

        Raises:
            DataError: a sequence cannot be made.
            ResourceError: the processes have stopped giving any.
        """
        started = time.perf_counter()
        rank, size = self._part
        places = list(range((rank - self.consumed) % size, number, size))
        sequences = [self._next(sample_number(self.consumed + place, self._skip)) for place in places]
        self.consumed += number
        return places, sequences, time.perf_counter() - started

    def _next(self, number: int) -> PackedSequence:
        if self._ahead is None:
            return self._stream[number]
        try:
            found = next(self._ahead)
        except RuntimeError as error:  # a process died, or nothing came for stall_seconds
            reason = str(error).splitlines()[0].rstrip(".")
            raise ResourceError(
                f"Sequence {number} does not come from the loader's processes: {reason}.",
                "Look at the disk the data are on; resume with the same command, or with train.loader.workers=0.",
            ) from None
        if isinstance(found, GLMError):
            raise found
        return found

    def close(self) -> None:
        """Let go of the processes, which PyTorch then ends."""
        self._ahead = None


class _Guarded(Dataset[Any]):
    """The stream, with errors handed over rather than raised, so that their sentences arrive as they are."""

    def __init__(self, stream: SampleStream) -> None:
        self._stream = stream

    def __getitem__(self, index: int) -> PackedSequence | GLMError:
        try:
            return self._stream[index]
        except GLMError as error:
            return error


class _Numbers:
    """Numbers to draw, without end."""

    def __init__(self, consumed: int, skip: Sequence[tuple[int, int]], part: tuple[int, int]) -> None:
        rank, size = part
        self._first, self._step, self._skip = consumed + (rank - consumed) % size, size, skip

    def __iter__(self) -> Iterator[int]:
        return (sample_number(consumed, self._skip) for consumed in count(self._first, self._step))


def _live_and_die_with_the_training(_worker: int) -> None:
    """Leave signals to the whole process group to the training, which saves; end when it was killed.

    PyTorch's own watch over the parent does not end a process whose queue is full, and such a process keeps
    the run's lock.
    """
    for kind in (signal.SIGINT, signal.SIGTERM):
        signal.signal(kind, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _unchanged(value: Any) -> Any:
    return value
