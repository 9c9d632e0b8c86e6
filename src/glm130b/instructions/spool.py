"""Records of any format as lines of one temporary file, so that each can be had by its number."""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from glm130b.errors import DataError
from glm130b.files import disk_error


def write_spool(prefix: Path, records: Iterable[Mapping[str, Any]]) -> tuple[int, str]:
    """Write ``<prefix>.jsonl`` and ``<prefix>.npy``, the offsets of its lines; eight bytes a record are held in memory.

    Returns:
        Number and SHA-256 of the records.

    Raises:
        DataError: a value is no plain text, number, list or mapping.
        ResourceError: the disk is full.
    """
    offsets = array("q", [0])
    digest = hashlib.sha256()
    try:
        with prefix.with_suffix(".jsonl").open("wb") as lines:
            for number, record in enumerate(records):
                try:
                    line = json.dumps(record, default=_plain).encode() + b"\n"
                except (TypeError, ValueError, RecursionError) as error:
                    raise DataError(
                        f"Record {number} of {prefix.name} holds a value that is no text or number ({error}).",
                        "Save the dataset without that field, or as JSON lines.",
                    ) from None
                digest.update(line)
                offsets.append(offsets[-1] + lines.write(line))
        np.save(prefix.with_suffix(".npy"), np.asarray(offsets, dtype=np.int64))
    except OSError as error:
        raise disk_error(prefix, error) from error
    return len(offsets) - 1, digest.hexdigest()


def _plain(value: Any) -> str:
    if hasattr(value, "isoformat"):
        return str(value.isoformat())
    raise TypeError(type(value).__name__)


class Spool:
    """What ``write_spool`` wrote, by number."""

    def __init__(self, prefix: Path) -> None:
        self._lines = prefix.with_suffix(".jsonl").open("rb")
        self._offsets = np.load(prefix.with_suffix(".npy"), mmap_mode="r")

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __getitem__(self, number: int) -> dict[str, Any]:
        self._lines.seek(int(self._offsets[number]))
        record: dict[str, Any] = json.loads(self._lines.readline())
        return record

    def close(self) -> None:
        """Close the file."""
        self._lines.close()
