"""Notices in every worker that the job stands still, and says where."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
import traceback
from contextlib import suppress
from pathlib import Path
from types import FrameType

import glm130b
from glm130b.errors import GLMError
from glm130b.launch.folder import EXIT_START_AGAIN, STANDBY, HangReport, LaunchFolder

_PACKAGE = Path(glm130b.__file__).parent
_TORCH_DISTRIBUTED, _TORCH_AUTOGRAD = (f"torch{os.sep}{name}{os.sep}" for name in ("distributed", "autograd"))

_PATIENCE = {"start": 6.0, "checkpoint": 6.0, "waiting": float("inf"), STANDBY: float("inf")}
"""Times the limit that a phase may take. Who waits for another to do something long leaves the watch to that one."""


class Heartbeat:
    """A worker's signs of life, and the thread that misses them.

    A hang of one rank makes all others hang in a collective. So the first that notices makes all of them report,
    and each ends with ``EXIT_START_AGAIN`` only when the others have had time for it. The thread also ends the
    process when the launcher is gone: a worker without one would train on unseen.

    Args:
        limit: seconds without a sign after which the job counts as hung; some phases have more.
    """

    def __init__(self, folder: LaunchFolder, attempt: int, rank: int, limit: float) -> None:
        self._folder, self._attempt, self._rank, self._limit = folder, attempt, rank, limit
        self._poll = min(max(limit / 100, 0.05), 1.0)
        self._grace = max(limit / 10, 4 * self._poll)
        self._launcher = os.getppid()
        self._began = False
        self._stale = folder.is_marked("hang", attempt)  # of an earlier job: torchrun counts its attempts from 0
        self._last = ("start", 0, time.monotonic())
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._thread.start()

    def beat(self, phase: str, step: int) -> None:
        """Give a sign of life: the worker has come to ``phase`` of step ``step``, 0 before the first. Costs nothing."""
        self._last = (phase, step, time.monotonic())

    @property
    def step(self) -> int:
        """The step of the last sign; 0 before the first."""
        return self._last[1]

    def stop(self) -> None:
        """End the watch."""
        self._stopped.set()
        self._thread.join(self._grace)

    def _watch(self) -> None:
        woke = time.monotonic()
        while not self._stopped.wait(self._poll):
            if os.getppid() != self._launcher:
                os._exit(EXIT_START_AGAIN)
            now, (phase, step, since) = time.monotonic(), self._last
            if now - woke > self._limit / 2:
                # This process was itself stopped and goes on; so may the others.
                self._last = (phase, step, now)
            elif now - since > self._limit * _PATIENCE.get(phase, 1.0) or self._others_hang():
                self._report(phase, step, now - since)
                if not self._stopped.wait(self._grace):
                    sys.stdout.flush()
                    sys.stderr.flush()
                    os._exit(EXIT_START_AGAIN)
                return
            self._note_beginning(step)
            woke = now

    def _others_hang(self) -> bool:
        with suppress(OSError):  # a file system that fails for a moment
            return not self._stale and self._folder.is_marked("hang", self._attempt)
        return False

    def _note_beginning(self, step: int) -> None:
        """Say once that training goes on from the chosen checkpoint: a restart must not choose again."""
        if self._rank == 0 and step and not self._began:
            self._began = True
            with suppress(OSError):
                self._folder.mark("began", self._attempt)

    def _report(self, phase: str, step: int, seconds: float) -> None:
        frames, threads = sys._current_frames(), threading.enumerate()
        stacks = {
            thread.name: [line.rstrip() for line in traceback.format_stack(frames[thread.ident])]
            for thread in threads
            if thread.ident in frames and thread.ident != threading.get_ident()
        }
        main = frames.get(threading.main_thread().ident or 0)
        place, waiting = _place(main) if main is not None else ("", False)
        report = HangReport(self._rank, socket.gethostname(), phase, step, round(seconds, 1), place, waiting, stacks)
        with suppress(GLMError, OSError):  # a full disk must not keep a hung process alive
            self._folder.report_hang(self._attempt, report)


def _place(frame: FrameType) -> tuple[str, bool]:
    """The innermost line of this package that a stack is in, and whether a collective is all that lies below it."""
    waiting = computing = False
    stack = traceback.extract_stack(frame)
    for call in reversed(stack):
        file = Path(call.filename)
        if file.is_relative_to(_PACKAGE) and "launch" not in file.relative_to(_PACKAGE).parts:
            return f"{file.relative_to(_PACKAGE)}:{call.lineno}, {call.name}", waiting
        computing = computing or _TORCH_AUTOGRAD in call.filename  # a backward pass, whoever called for it
        waiting = waiting or (_TORCH_DISTRIBUTED in call.filename and not computing)
    last = stack[-1]
    return f"{Path(last.filename).name}:{last.lineno}, {last.name}", waiting
