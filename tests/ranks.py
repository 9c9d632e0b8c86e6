"""Several ranks of one job as forked processes: torch is imported once, so a job of eight starts in no time."""

from __future__ import annotations

import functools
import multiprocessing
import os
import pickle
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
            return _results(ranks, time.monotonic() + timeout)
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


def _results(ranks: list[tuple[Any, Connection]], deadline: float) -> list[Any]:
    results: dict[int, Any] = {}
    faults: dict[int, str] = {}
    while len(results) + len(faults) < len(ranks):
        assert time.monotonic() < deadline, _told(
            f"only ranks {sorted(results)} of {len(ranks)} came to an end", faults
        )
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


def _told(problem: str, faults: dict[int, str]) -> str:
    return "\n".join([problem, *(f"rank {rank}:\n{fault}" for rank, fault in faults.items())])


def _one_rank(
    rank: int, size: int, store: Path, pipe: Connection, function: Callable[..., Any], arguments: tuple[Any, ...]
) -> None:
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
