"""Files brought into memory in large pages."""

from __future__ import annotations

import mmap
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

_POPULATE_READ = 22
"""Linux's MADV_POPULATE_READ, since 5.14."""
_SMALL_FILE = 1 << 26


def read_in_large_pages(files: Iterable[Path]) -> None:
    """Bring files into the page cache, in pages of 2 MB where the system has them.

    Decoding reads all weights for every token, and looking up small pages takes a part of that time. How a file lies
    in the page cache is decided when it is first read; what is there already stays as it is. Does nothing to small
    files, and where the system cannot.
    """
    for path in files:
        with suppress(OSError, ValueError, AttributeError), path.open("rb") as file:
            if path.stat().st_size < _SMALL_FILE:
                continue
            with mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as content:
                content.madvise(mmap.MADV_HUGEPAGE)
                content.madvise(_POPULATE_READ)
