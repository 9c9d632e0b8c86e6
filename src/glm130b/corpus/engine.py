"""Runs the tasks of a stage: in this process, in several, or on a cluster through ``cluster``."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_EXCEPTION, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from glm130b.corpus.job import Job, Stage
from glm130b.corpus.stages import run_task
from glm130b.errors import ResourceError

_SECONDS = 0.2
"""Between two looks at how far the workers are."""

_TASK, _DOCUMENTS, _BYTES, _PROCESS, _FIELDS = 0, 1, 2, 3, 4


class Reporter(Protocol):
    """What is told how a build goes on."""

    def note(self, text: str) -> None:
        """Something is done that has no stage."""

    def begin(self, stage: Stage, num_tasks: int, total_bytes: int, done_bytes: int) -> None:
        """A stage begins; ``done_bytes`` were dealt with by an earlier process."""

    def advance(self, documents: int, num_bytes: int) -> None:
        """So many more were dealt with."""


class Silent:
    """A reporter that says nothing."""

    def note(self, text: str) -> None:
        """Nothing."""

    def begin(self, stage: Stage, num_tasks: int, total_bytes: int, done_bytes: int) -> None:
        """Nothing."""

    def advance(self, documents: int, num_bytes: int) -> None:
        """Nothing."""


class Stopped(Exception):
    """SIGTERM came."""


def run_stage(job: Job, stage: Stage, todo: list[int], workers: int, reporter: Reporter) -> None:
    """Run tasks until all are done, the largest first; the first that fails ends the stage.

    Args:
        workers: processes; 1 runs everything in this one.

    Raises:
        GLMError: what a task raised.
        ResourceError: a worker was killed.
    """
    todo = sorted(todo, key=lambda number: (-job.task_bytes(stage, number), number))
    workers = min(workers, len(todo))
    if workers <= 1:
        for number in todo:
            run_task(job.folder, stage, number, reporter.advance)
        return
    context = multiprocessing.get_context("spawn")
    slots = context.RawArray("q", _FIELDS * workers)
    started = context.Value("i", 0)
    others = set(multiprocessing.active_children())
    executor = ProcessPoolExecutor(workers, context, _begin_worker, (slots, started))
    children: set[BaseProcess] = set()
    try:
        futures = [executor.submit(_run, str(job.folder), stage, number) for number in todo]
        children = set(multiprocessing.active_children()) - others
        _watch(futures, slots, workers, reporter)
    except BrokenProcessPool:
        executor.shutdown(wait=True)
        raise _killed(job, stage, slots, children) from None
    finally:
        for child in set(multiprocessing.active_children()) - others:
            child.kill()
        executor.shutdown(wait=True, cancel_futures=True)


def _watch(futures: list[Future[None]], slots: Any, workers: int, reporter: Reporter) -> None:
    """Pass on what the workers tell until all tasks are done or one fails."""
    seen = (0, 0)
    pending = set(futures)
    while pending:
        done, pending = wait(pending, _SECONDS, FIRST_EXCEPTION)
        now = tuple(sum(slots[_FIELDS * n + field] for n in range(workers)) for field in (_DOCUMENTS, _BYTES))
        reporter.advance(now[0] - seen[0], now[1] - seen[1])
        seen = (now[0], now[1])
        for future in done:
            future.result()


def _killed(job: Job, stage: Stage, slots: Any, children: set[BaseProcess]) -> ResourceError:
    """Which worker ended by itself; those that the executor ended then got SIGTERM."""
    tasks = {slots[base + _PROCESS]: slots[base + _TASK] - 1 for base in range(0, len(slots), _FIELDS)}
    gone = {child.pid: child.exitcode for child in children if child.exitcode not in (None, 0, -signal.SIGTERM)}
    names = [job.task_name(stage, tasks[process]) for process in gone if tasks.get(process, -1) >= 0]
    where = " and ".join(names) or f"stage {stage}"
    code = next(iter(gone.values()), None) or 0
    how = f"was ended by signal {-code}" if code < 0 else "ended by itself"
    why = ", probably for lack of memory" if code == -signal.SIGKILL else ""
    return ResourceError(
        f"A worker process {how} at {where}{why}.",
        "Run the same command again, with fewer --workers if memory is short.",
    )


_slot: Any = None
_base = 0


def _begin_worker(slots: Any, started: Any) -> None:
    """Take a place in the shared table of progress, leave Ctrl-C to the parent, and end when it ends."""
    global _slot, _base
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    with started.get_lock():
        _slot, _base = slots, _FIELDS * started.value
        started.value += 1
    _slot[_base + _PROCESS] = os.getpid()


def _end_with(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)


def _run(folder: str, stage: Stage, number: int) -> None:
    _slot[_base + _TASK] = number + 1
    run_task(Path(folder), stage, number, _advance)


def _advance(documents: int, num_bytes: int) -> None:
    _slot[_base + _DOCUMENTS] += documents
    _slot[_base + _BYTES] += num_bytes


@contextmanager
def stopping() -> Iterator[None]:
    """Turn SIGTERM into ``Stopped`` while the block runs, as Ctrl-C is a ``KeyboardInterrupt``."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Stopped

    try:
        previous = signal.signal(signal.SIGTERM, stop)
    except ValueError:  # not the main thread, which alone gets signals
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
