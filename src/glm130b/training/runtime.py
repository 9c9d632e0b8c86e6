"""The process around a run: memory, signals, the lock."""

from __future__ import annotations

import ctypes
import signal
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from glm130b.files import folder_lock

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def keep_freed_memory() -> None:
    """Let glibc reuse large freed blocks rather than hand them back to the system at once.

    By default every tensor over 32 MB is mapped anew, zeroed page by page, each time it is allocated;
    see docs/decisions/0003-allocator.md. Does nothing on other C libraries.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 1 << 30)
        mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)


def run_lock(run: Path) -> AbstractContextManager[None]:
    """Keep a second process out of a run's folder; see ``folder_lock``."""
    return folder_lock(run, f"Another process is training in {run}.")


class StopRequest:
    """Whether, and by which signal, the run was asked to stop."""

    signal: signal.Signals | None = None


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Turn the first SIGINT or SIGTERM into a request; a second one acts at once as usual."""
    request = StopRequest()
    previous: dict[signal.Signals, Any] = {}

    def note(number: int, frame: FrameType | None) -> None:
        request.signal = signal.Signals(number)
        for kind, handler in previous.items():
            signal.signal(kind, handler)

    try:
        for kind in (signal.SIGINT, signal.SIGTERM):
            previous[kind] = signal.signal(kind, note)
    except ValueError:
        previous.clear()  # not the main thread: nobody to interrupt
    try:
        yield request
    finally:
        for kind, handler in previous.items():
            signal.signal(kind, handler)
