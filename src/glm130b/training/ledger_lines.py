"""The lines of a run's ledger: read and checked, restored, compared.

A line is a JSON object. As ``previous`` it carries the SHA-256 of the line before it, newline included (64 zeros in
the first line), so that none can be changed, added or left out unnoticed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, zip_longest
from pathlib import Path
from typing import Any

from glm130b.errors import ModelError
from glm130b.files import whole_file
from glm130b.samples import sample_number

LEDGER = "ledger.jsonl"

Line = dict[str, Any]


@dataclass(frozen=True)
class Head:
    """How far a ledger has come.

    Attributes:
        lines: number of lines.
        sha256: of the last line, newline included.
        num_bytes: of all lines.
    """

    lines: int = 0
    sha256: str = "0" * 64
    num_bytes: int = 0

    def after(self, raw: bytes) -> Head:
        """One line further."""
        return Head(self.lines + 1, hashlib.sha256(raw).hexdigest(), self.num_bytes + len(raw))


def read_ledger(path: Path, *, is_copy: bool = False) -> Iterator[tuple[Line, Head]]:
    """The lines of a ledger, each checked against the one before it, and the head after each.

    A last line without its newline, which a kill cut short, is left out.

    Args:
        is_copy: whether it is a checkpoint's copy of a run's ledger.

    Raises:
        ModelError: there is no such file; or a line does not follow from the one before it.
    """
    head = Head()
    try:
        with path.open("rb") as file:
            for raw in file:
                if not raw.endswith(b"\n"):
                    return
                line = _parsed(raw)
                if line.get("previous") != head.sha256:
                    raise _changed(path, head.lines + 1, is_copy)
                head = head.after(raw)
                yield line, head
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}.", "Check the run's folder.") from None


def _parsed(raw: bytes) -> Line:
    try:
        line = json.loads(raw)
    except ValueError:
        return {}
    return line if isinstance(line, dict) else {}


def _changed(path: Path, number: int, is_copy: bool) -> ModelError:
    remedy = f"Restore the file from the newest checkpoint, which holds a copy ({LEDGER})."
    if is_copy:
        remedy = "Resume from an earlier checkpoint (--resume), whose copy is another."
    culprit = f"it or line {number - 1} was" if number > 1 else "the file was"
    return ModelError(
        f"{path}, line {number}, does not follow from what is before it: {culprit} changed, or lines are missing.",
        remedy,
    )


def restore_ledger(path: Path, copy: Path) -> tuple[Line, Head]:
    """Let a ledger begin with the lines that a checkpoint has a copy of, where it is missing or has lost its end.

    Returns:
        The copy's last line, and its head.

    Raises:
        ModelError: the copy is broken, or the ledger says something else.
    """
    last, head = Line(), Head()
    for last, head in read_ledger(copy, is_copy=True):  # noqa: B007
        pass
    saved, own = copy.read_bytes(), path.read_bytes() if path.exists() else b""
    if saved.startswith(own[: own.rfind(b"\n") + 1]):
        with whole_file(path) as partial:
            partial.write_bytes(saved)
    elif not own.startswith(saved):
        pairs = zip(count(1), zip_longest(own.splitlines(), saved.splitlines()), strict=False)
        number = next(number for number, (mine, theirs) in pairs if mine != theirs)
        raise ModelError(
            f"{path}, line {number}, is not what {copy} has on record: one of the two was changed.",
            "Restore the run's file from that copy, or train into a new folder.",
        )
    return last, head


def differences(before: Any, now: Any, key: str = "") -> dict[str, tuple[Any, Any]]:
    """Was and is of every setting that two trees of plain values do not agree on, by dotted key; None if absent."""
    if isinstance(before, dict) and isinstance(now, dict):
        found: dict[str, tuple[Any, Any]] = {}
        for name in {**before, **now}:
            found |= differences(before.get(name), now.get(name), f"{key}.{name}" if key else name)
        return found
    return {} if before == now else {key: (before, now)}


def numbers_drawn(consumed: int, count: int, skip: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """First and last number of each unbroken stretch among the ``count`` sequences drawn after ``consumed`` others.

    Args:
        skip: ``data.skip``: stretches ``[first, end)`` left out, in order.
    """
    found = []
    first = sample_number(consumed, skip)
    for start, end in skip:
        if start > first:
            if start >= first + count:
                break
            found.append((first, start - 1))
            count -= start - first
        first = max(first, end)
    return [*found, (first, first + count - 1)]
