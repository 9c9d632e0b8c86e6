"""Bringing files into memory in large pages."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from glm130b.offload import read_in_large_pages


@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's account of the page cache")
def test_a_large_file_is_in_memory_afterwards(tmp_path: Path) -> None:
    import mmap
    import os

    path = tmp_path / "weights"
    path.write_bytes(os.urandom(1 << 20) * 65)
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    read_in_large_pages([path])
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as content:
        faults = resident_faults()
        assert sum(content[:: mmap.PAGESIZE]) > 0
        assert resident_faults() == faults


def resident_faults() -> int:
    """Pages that this process has had to wait for a disk for."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_majflt


def test_what_cannot_be_read_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    read_in_large_pages([tmp_path / "missing", tmp_path, tmp_path / "empty"])
