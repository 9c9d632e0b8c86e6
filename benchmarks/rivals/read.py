"""Reading tensors from memory as fast as the machine can: the measure of products by them."""

from __future__ import annotations

import ctypes
import hashlib
import os
import subprocess
from concurrent.futures import Executor
from pathlib import Path

from torch import Tensor

SOURCE = Path(__file__).with_name("read.c")


def compiled(folder: Path) -> ctypes.CDLL:
    """The library of ``read.c``, made in ``folder`` if it is not there."""
    name = f"read-{hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:12]}.so"
    if not (folder / name).exists():
        part = folder / f"{name}.part"
        subprocess.run(["cc", "-O3", "-march=native", "-shared", "-fPIC", SOURCE, "-o", part], check=True)
        part.rename(folder / name)
    return ctypes.CDLL(str(folder / name))


def evict(path: Path) -> None:
    """Let the system forget what it holds of a file, unless it is mapped: it is read from the disk again.

    Linux keeps what was just written in small pages, what it reads from some file systems in large ones, which are
    read a third faster; a model has seldom just been written.
    """
    if hasattr(os, "posix_fadvise"):
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def share_in_large_pages(path: Path) -> float:
    """Of what this process holds of a mapped file."""
    held = large = 0
    counts = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        name, *rest = line.split()
        if not name.endswith(":"):
            counts = line.endswith(str(path))
        elif counts and name in ("Rss:", "FilePmdMapped:"):
            held += int(rest[0]) * (name == "Rss:")
            large += int(rest[0]) * (name == "FilePmdMapped:")
    return large / max(1, held)


class Reading:
    """Reads all bytes of ``tensors``, each thread a part of each tensor; a call is one pass."""

    def __init__(self, tensors: list[Tensor], folder: Path, pool: Executor, threads: int) -> None:
        self.num_bytes = sum(tensor.nbytes for tensor in tensors)
        self._tensors, self._pool, self._threads = tensors, pool, threads
        self._addresses = (ctypes.c_void_p * len(tensors))(*[tensor.data_ptr() for tensor in tensors])
        self._sizes = (ctypes.c_size_t * len(tensors))(*[tensor.nbytes for tensor in tensors])
        self._function = compiled(folder).read_part
        self._function.restype = ctypes.c_uint64

    def __call__(self) -> None:
        list(self._pool.map(self._part, range(self._threads)))

    def _part(self, part: int) -> int:
        size = ctypes.c_size_t
        count, parts = size(len(self._tensors)), size(self._threads)
        found: int = self._function(self._addresses, self._sizes, count, size(part), parts)
        return found
