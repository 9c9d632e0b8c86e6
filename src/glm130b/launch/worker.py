"""What a process is that torchrun, or our launcher, has started: one rank of a job."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property, partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar

from glm130b.config import ElasticConfig
from glm130b.errors import GLMError
from glm130b.launch.folder import STANDBY, Ending, LaunchFolder
from glm130b.launch.watchdog import Heartbeat

if TYPE_CHECKING:
    import torch

ATTEMPT, RESUME = "GLM_ATTEMPT", "GLM_RESUME"
"""What our launcher tells its workers: the number of the attempt, and whence to resume if not as the user said."""

_PATIENCE = timedelta(hours=6)
"""Longer than anything takes; who hangs is found by the watchdog, not by a collective."""

_STANDBY_SECONDS = 1.0

T = TypeVar("T")
Beat = Callable[[str, int], None]


@dataclass(frozen=True)
class Worker:
    """This process's place among those of the job.

    Attributes:
        rank, world_size: its number, and how many there are.
        local_rank: its number on this machine.
        resume: whence to resume, if not as the user said: ``auto`` once a restarted job has begun to train.
        beat: takes signs of life, ``beat(phase, step)``.
        is_over: whether the first rank has come to its end.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    resume: str | None = None
    beat: Beat = lambda _phase, _step: None
    is_over: Callable[[], bool] = lambda: True

    @property
    def first(self) -> bool:
        """Whether this process is the one that speaks, and writes what is written once."""
        return self.rank == 0

    @cached_property
    def store(self) -> Any:
        """What all ranks meet over; collective."""
        from torch.distributed.rendezvous import rendezvous

        store, _, _ = next(rendezvous("env://", timeout=_PATIENCE))
        return store

    def share(self, make: Callable[[], T]) -> T:
        """What ``make`` gives on the first rank, on every rank. Needs no process group; once in a process's life."""
        if not is_worker():
            return make()
        if self.first:
            self.store.set("glm/shared", pickle.dumps(make()))
        found: T = pickle.loads(self.store.get("glm/shared"))
        return found

    def stand_by(self) -> None:
        """Do nothing until the job is over: the layout has no place for this rank, unless it is started anew."""
        self.beat(STANDBY, 0)
        while not self.is_over():
            time.sleep(_STANDBY_SECONDS)


def is_worker() -> bool:
    """Whether a launcher started this process, ours or the user's."""
    return all(name in os.environ for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"))


@contextmanager
def worker(run: Path, elastic: ElasticConfig) -> Iterator[Worker]:
    """Be a worker within the block: watched for hangs, and heard when it fails.

    Under our launcher an error within the block ends the process at once, so that the other ranks learn of it, and
    a user's error is not printed here, but by the launcher. A process that nobody launched is a job of its own,
    which nobody watches.
    """
    if not is_worker():
        yield Worker()
        return
    folder, launched = LaunchFolder(run), ATTEMPT in os.environ
    attempt = int(os.environ.get(ATTEMPT) or os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))
    rank, world_size, local_rank = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    heartbeat = Heartbeat(folder, attempt, rank, elastic.hang_seconds)
    if launched:
        _take_signals(heartbeat, rank)
    resume, is_over = os.environ.get(RESUME) or None, partial(folder.is_marked, "over", attempt)
    try:
        yield Worker(rank, world_size, local_rank, resume, heartbeat.beat, is_over)
        if rank == 0:
            folder.mark("over", attempt)
    except Exception as error:
        if not launched:
            raise
        _fail(folder, attempt, rank, error)
    finally:
        heartbeat.stop()


def _take_signals(heartbeat: Heartbeat, rank: int) -> None:
    """Let a signal end this process as long as there is nothing to save, and change nothing later on.

    In between training has handlers of its own, which save and end. Whoever signals whole process groups signals
    launcher and worker, and the launcher signals the worker again; what loses patience is the launcher.
    """

    def handle(number: int, _frame: FrameType | None) -> None:
        if heartbeat.step == 0:
            if rank == 0:
                print("Stopped.", file=sys.stderr, flush=True)
            os._exit(128 + number)

    for kind in (signal.SIGINT, signal.SIGTERM):
        signal.signal(kind, handle)


def _fail(folder: LaunchFolder, attempt: int, rank: int, error: Exception) -> None:
    """Say what went wrong, then end without a word to the other ranks, which would wait for an answer.

    Most of those that fail do so because of another, so nothing goes to the terminal from here.
    """
    host = socket.gethostname()
    if isinstance(error, GLMError):
        ending = Ending(rank, host, error.exit_code, error.problem, error.next_step)
    else:
        folder.write_traceback(attempt, rank, traceback.format_exc())
        last = traceback.format_exception_only(error)[-1].strip().splitlines()
        ending = Ending(rank, host, 1, last[0] if last else type(error).__name__)
    try:
        folder.report_ending(attempt, ending)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(ending.exit_code)


@contextmanager
def process_group(me: Worker, device: torch.device, num_ranks: int) -> Iterator[None]:
    """Be connected with the first ``num_ranks`` ranks within the block: over Gloo, and between GPUs over NCCL.

    Left by an error, the group is not destroyed: that would wait for the others.
    """
    import torch
    import torch.distributed as dist

    if not is_worker():
        yield
        return
    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.cuda.set_device(device)
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if on_gpu else "gloo",
        store=me.store,
        rank=me.rank,
        world_size=num_ranks,
        timeout=_PATIENCE,
        device_id=device if on_gpu else None,
    )
    yield
    dist.barrier()  # rank 0 holds the store that all need until they are done
    dist.destroy_process_group()


def own_device(me: Worker, name: str) -> str:
    """The device of this rank: of several GPUs the one of its local number, else what the configuration says."""
    import torch

    gpus = name == "cuda" or (name == "auto" and torch.cuda.is_available())
    return f"cuda:{me.local_rank}" if gpus and is_worker() else name
