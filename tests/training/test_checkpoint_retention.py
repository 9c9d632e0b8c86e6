"""Which checkpoints go."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glm130b.config import CheckpointConfig
from glm130b.model import checkpoints
from glm130b.training.retention import outdated, retain


@pytest.mark.parametrize(
    ("steps", "keep", "keep_every", "gone"),
    [
        ([], 2, 0, []),
        ([3, 6], 2, 0, []),
        ([3, 6, 9, 10], 2, 0, [3, 6]),
        ([10, 3, 9, 6], 1, 6, [3, 9]),
        ([100, 200, 250, 300, 350], 1, 100, [250]),
        ([5], 1, 2, []),
    ],
)
def test_outdated(steps: list[int], keep: int, keep_every: int, gone: list[int]) -> None:
    assert outdated(steps, keep, keep_every) == gone


@given(steps=st.sets(st.integers(1, 60)), keep=st.integers(1, 4), keep_every=st.integers(0, 7))
def test_what_stays_whatever_goes(steps: set[int], keep: int, keep_every: int) -> None:
    left = steps - set(outdated(list(steps), keep, keep_every))
    assert sorted(steps)[-keep:] == sorted(left)[-keep:]
    assert {step for step in steps if keep_every and step % keep_every == 0} <= left
    assert len(left) <= keep + (60 // keep_every if keep_every else 0)
    assert outdated(list(left), keep, keep_every) == []


def test_folders_go_and_nothing_else(tmp_path: Path) -> None:
    for name in ("step-00000002", "step-00000004", "step-00000006", "step-best", ".partial-step-00000008", "notes"):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
        (tmp_path / "checkpoints" / name / "file").write_text("x")
    retain(tmp_path, CheckpointConfig(keep=1, keep_every=4))
    assert [path.name for path in checkpoints(tmp_path)] == ["step-00000004", "step-00000006"]
    others = {path.name for path in (tmp_path / "checkpoints").iterdir()} - {"step-00000004", "step-00000006"}
    assert others == {"step-best", ".partial-step-00000008", "notes"}
