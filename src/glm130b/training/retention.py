"""Which checkpoints are kept."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from glm130b.config import CheckpointConfig
from glm130b.model import checkpoints


def outdated(steps: Sequence[int], keep: int, keep_every: int) -> list[int]:
    """The steps whose checkpoints may go, of those in ``steps``, in ascending order.

    The newest ``keep`` stay, at least one, and those that are multiples of ``keep_every`` unless that is 0.
    """
    old = sorted(set(steps))[: -max(keep, 1)]
    return [step for step in old if not keep_every or step % keep_every]


def retain(run: Path, config: CheckpointConfig) -> None:
    """Remove the checkpoints of a run that ``config`` does not ask to keep."""
    there = {step_of(path): path for path in checkpoints(run)}
    for step in outdated(list(there), config.keep, config.keep_every):
        discard(there[step])


def step_of(checkpoint: Path) -> int:
    """The step that a checkpoint was saved after."""
    return int(checkpoint.name.removeprefix("step-"))


def discard(checkpoint: Path) -> None:
    """Remove a checkpoint; a kill half-way leaves no folder that looks whole."""
    doomed = checkpoint.rename(checkpoint.with_name(f".partial-old-{checkpoint.name}"))
    shutil.rmtree(doomed, ignore_errors=True)
