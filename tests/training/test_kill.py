"""SIGKILL at random, as the command line sees it."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support import SHRINK


def start(out: Path, *overrides: str) -> subprocess.Popen[bytes]:
    texts = [*SHRINK, "train.max_steps=14", "eval.every_steps=5", *overrides]
    sets = [part for text in texts for part in ("--set", text)]
    command = [sys.executable, "-m", "glm130b", "train", "tiny", "--out", str(out), *sets]
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=one_thread, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def finish(process: subprocess.Popen[bytes]) -> None:
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors.decode()


def curve(out: Path) -> list[tuple[int, float, object]]:
    records = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [(record["step"], record["loss"], record.get("heldout_loss")) for record in records]


@pytest.mark.slow
def test_killed_at_random_the_curve_is_the_same(tmp_path: Path) -> None:
    """With processes that load: they have to end with the training, or they would keep the run's lock and stderr."""
    finish(start(tmp_path / "whole"))
    whole = curve(tmp_path / "whole")
    assert [step for step, _, _ in whole] == list(range(1, 15))
    out, rng = tmp_path / "killed", random.Random(4)
    for kill in range(3):
        process = start(out, "train.loader.workers=2")
        steps = [2, 6, 11][kill]
        while process.poll() is None:
            metrics = out / "metrics.jsonl"
            if metrics.exists() and metrics.read_bytes().count(b"\n") >= steps:
                time.sleep(rng.random() * 0.05)
                process.send_signal(signal.SIGKILL)
                break
            time.sleep(0.002)
        process.communicate(timeout=60)
    finish(start(out))
    assert curve(out) == whole
    assert not [path for path in out.rglob("*") if path.name.startswith(".partial")]
