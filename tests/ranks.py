"""Several ranks of one job as forked processes: torch is imported once, so a job of eight starts in no time."""

from __future__ import annotations

import faulthandler
import functools
import gc
import multiprocessing
import os
import pickle
import signal
import tempfile
import time
import traceback
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist


def run_ranks(size: int, function: Callable[..., Any], *arguments: Any, timeout: float = 300.0) -> list[Any]:
    """Call ``function(*arguments)`` on each of ``size`` ranks over Gloo; what each returns, in their order.

    The first rank to fail fails the test with its traceback; ranks that hang are killed.
    """
    context = multiprocessing.get_context("fork")
    with tempfile.TemporaryDirectory() as folder:
        ranks = []
        for rank in range(size):
            ours, theirs = context.Pipe(duplex=False)
            process = context.Process(
                target=_one_rank, args=(rank, size, Path(folder) / "store", theirs, function, arguments)
            )
            process.start()
            theirs.close()
            ranks.append((process, ours))
        try:
            return _results(ranks, time.monotonic() + timeout, Path(folder))
        finally:
            for process, pipe in ranks:
                process.kill()
                process.join()
                pipe.close()


def apart(test: Callable[..., None]) -> Callable[..., None]:
    """Run a test in a process of its own: what it leaves in PyTorch's caches of meshes would reach later ranks."""

    @functools.wraps(test)
    def wrapped(*arguments: Any, **named: Any) -> None:
        run_ranks(1, functools.partial(test, *arguments, **named))

    return wrapped


def _results(ranks: list[tuple[Any, Connection]], deadline: float, folder: Path) -> list[Any]:
    results: dict[int, Any] = {}
    faults: dict[int, str] = {}
    while len(results) + len(faults) < len(ranks):
        if time.monotonic() > deadline:
            faults |= _stacks({rank: process for rank, (process, _) in enumerate(ranks) if rank not in results}, folder)
            raise AssertionError(_told(f"only ranks {sorted(results)} of {len(ranks)} came to an end", faults))
        for rank, (process, pipe) in enumerate(ranks):
            if rank in results or rank in faults or not pipe.poll(0.02):
                continue
            try:
                fault, result = pickle.loads(pipe.recv_bytes())
            except EOFError:
                process.join()
                fault, result = f"ended with {process.exitcode}", None
            if fault is None:
                results[rank] = result
            else:
                faults[rank] = fault
                deadline = min(deadline, time.monotonic() + 3)  # others may fail of it, or of the same
    assert not faults, _told("", faults)
    return [results[rank] for rank in range(len(ranks))]


def _stacks(processes: dict[int, Any], folder: Path) -> dict[int, str]:
    for process in processes.values():
        if process.is_alive():
            os.kill(process.pid, signal.SIGUSR1)
    time.sleep(1)
    return {rank: stack.read_text() for rank in processes if (stack := _stack_file(folder, rank)).exists()}


def _stack_file(folder: Path, rank: int) -> Path:
    return folder / f"stack-{rank}.txt"


def _told(problem: str, faults: dict[int, str]) -> str:
    return "\n".join([problem, *(f"rank {rank}:\n{fault}" for rank, fault in sorted(faults.items()))])


def _one_rank(
    rank: int, size: int, store: Path, pipe: Connection, function: Callable[..., Any], arguments: tuple[Any, ...]
) -> None:
    stack = _stack_file(store.parent, rank).open("w")
    faulthandler.register(signal.SIGUSR1, file=stack)
    gc.freeze()  # a process group of the parent's would wait, when collected here, for threads that were not forked
    torch.set_num_threads(1)
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(size), LOCAL_RANK=str(rank))
    try:
        if size > 1:
            dist.init_process_group(
                "gloo", store=dist.FileStore(str(store), size), rank=rank, world_size=size, timeout=timedelta(minutes=3)
            )
        pipe.send_bytes(pickle.dumps((None, function(*arguments))))
    except BaseException:
        pipe.send_bytes(pickle.dumps((traceback.format_exc(), None)))
    finally:
        pipe.close()
        os._exit(0)  # peers may still be at work; nothing here waits for them
