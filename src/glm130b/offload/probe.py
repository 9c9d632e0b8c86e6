"""How fast this machine reads its memory and a file: short measurements, for plans."""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median

import torch

from glm130b.offload.pages import forget_cached

_MATRIX = 8192
_FILE_BYTES, _BLOCK_BYTES = 1 << 29, 1 << 23


def memory_bandwidth(rounds: int = 7) -> float:
    """Bytes/s that all threads read together: the median of products of a matrix of 268 MB with a vector."""
    matrix, vector = torch.ones(_MATRIX, _MATRIX), torch.ones(_MATRIX)
    torch.mv(matrix, vector)
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        torch.mv(matrix, vector)
        seconds.append(time.perf_counter() - start)
    return matrix.nbytes / median(seconds)


def disk_bandwidth(path: Path) -> float:
    """Bytes/s from the beginning of a file, at most 0.5 GB of it, after the system was asked to forget it.

    A system that keeps it all the same answers with the speed of its memory.
    """
    forget_cached(path)
    block, done = bytearray(_BLOCK_BYTES), 0
    start = time.perf_counter()
    with path.open("rb", buffering=0) as file:
        while done < _FILE_BYTES and (count := file.readinto(block)):
            done += count
    return done / (time.perf_counter() - start)
