"""Pages of memory-mapped files: which tensors lie in them, bringing them in, letting them go.

Linux only. Elsewhere no tensor counts as mapped, so nothing is brought in or let go ahead of time, and the system's
own paging serves the weights as it thinks best.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

_DONTNEED, _POPULATE_READ = 4, 22
"""Linux's ``MADV_DONTNEED`` and ``MADV_POPULATE_READ`` (5.14 and later)."""

_PAGE = mmap.PAGESIZE
_CHUNK_BYTES = 1 << 24
_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


class MappedFiles:
    """Where files are mapped into this process at the moment this is made.

    Dropping pages is only safe there: those of ordinary memory would come back as zeros.
    """

    def __init__(self) -> None:
        ranges = []
        maps = Path("/proc/self/maps")
        for line in maps.read_text().splitlines() if sys.platform == "linux" else ():
            addresses, _, _, _, inode, *path = line.split(maxsplit=5)
            if inode != "0" and path and path[0].startswith("/") and not path[0].startswith("/dev/zero"):
                start, end = (int(address, 16) for address in addresses.split("-"))
                ranges.append((start, end))
        self._starts, self._ends = [start for start, _ in ranges], [end for _, end in ranges]

    def hold(self, tensor: Tensor) -> bool:
        """Whether all of a contiguous tensor lies in one mapping of a file."""
        return self._find(tensor) is not None

    def let_go(self, tensors: Iterable[Tensor]) -> None:
        """Unmap all pages of the mappings in which these lie; who reads them next gets them from the file again.

        Not theirs alone: where the kernel handles pages in larger pieces it maps more of the file than was asked for.
        """
        for n in {n for n in map(self._find, tensors) if n is not None}:
            _advise(self._starts[n], self._ends[n] - self._starts[n], _DONTNEED)

    def _find(self, tensor: Tensor) -> int | None:
        if tensor.device.type != "cpu" or not tensor.is_contiguous() or not tensor.nbytes:
            return None
        n = bisect_right(self._starts, tensor.data_ptr()) - 1
        return n if n >= 0 and tensor.data_ptr() + tensor.nbytes <= self._ends[n] else None


def bring(tensor: Tensor) -> None:
    """Read a mapped tensor's pages from the disk and map them; holds no lock of Python's meanwhile."""
    start = tensor.data_ptr() // _PAGE * _PAGE
    end = tensor.data_ptr() + tensor.nbytes
    for place in range(start, end, _CHUNK_BYTES):
        if not _advise(place, min(_CHUNK_BYTES, end - place), _POPULATE_READ):
            _touch(tensor)
            return


@dataclass(frozen=True)
class Resident:
    """Bytes of main memory that this process holds.

    Attributes:
        total: all told, mapped files included.
        own: of it what lies in no file.
    """

    total: int
    own: int

    @classmethod
    def now(cls) -> Resident:
        """At this moment; zeros where the system does not say."""
        try:
            _, total, in_files, *_ = Path("/proc/self/statm").read_text().split()
        except OSError:
            return cls(0, 0)
        return cls(int(total) * _PAGE, (int(total) - int(in_files)) * _PAGE)


def available_memory() -> int | None:
    """Bytes of main memory that could be had without swapping, within the container's limit; None if unknown."""
    try:
        text = Path("/proc/meminfo").read_text()
        found = [int(text.split("MemAvailable:")[1].split()[0]) * 1024]
    except (OSError, IndexError, ValueError):
        return None
    for name in _CGROUP_LIMITS:
        try:
            found.append(int(Path(name).read_text()))
        except (OSError, ValueError):
            continue
    return min(found)


def _advise(start: int, length: int, advice: int) -> bool:
    return _MADVISE is not None and _MADVISE(start, length, advice) == 0


def _touch(tensor: Tensor) -> None:
    """Read one byte a page, where the kernel cannot be asked to."""
    tensor.view(-1).view(torch.uint8)[::_PAGE].sum()


def _find_madvise() -> Callable[[int, int, int], int] | None:
    if sys.platform != "linux":
        return None
    try:
        found = ctypes.CDLL(None, use_errno=True).madvise
    except (OSError, AttributeError):
        return None
    found.argtypes, found.restype = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int], ctypes.c_int

    def madvise(start: int, length: int, advice: int) -> int:
        return int(found(start, length, advice))

    return madvise


_MADVISE = _find_madvise()


def forget_cached(path: Path) -> None:
    """Ask the system to drop its own copy of a file, so that the next reading of it is the disk's."""
    if not hasattr(os, "posix_fadvise"):
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)
