"""The real thing: a small model on two processes that are killed, and a job that says what its user did wrong."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import jobs
import pytest
from jobs import children, end, events, free_port, is_open, records, steps, wait_for, wait_for_step
from support import SHRINK

pytestmark = pytest.mark.slow

STEPS = 60


def begin(out: Path, *options: str, sets: tuple[str, ...] = (), patience: int = 2) -> subprocess.Popen[str]:
    words = [part for text in (*SHRINK, f"train.max_steps={STEPS}", *sets) for part in ("--set", text)]
    command = [sys.executable, "-m", "glm130b", "train", "tiny", "--out", str(out), *words, *options]
    return jobs.begin(command, PET_RDZV_CONF=f"last_call_timeout={patience},keep_alive_interval=1")


def curve(run: Path) -> list[tuple[int, float]]:
    return [(record["step"], record["loss"]) for record in records(run)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[int, float]]:
    """The curve of a run on two processes that nothing disturbs."""
    run = tmp_path_factory.mktemp("whole")
    code, out, err = end(begin(run, "--nproc", "2"))
    assert (code, err) == (0, "")
    assert "Layout for 2 processes: pipeline 1 x data 2 x tensor 1" in out
    assert f"Done after step {STEPS}" in out
    return curve(run)


def test_ranks_killed_at_random_train_the_same_model(tmp_path: Path, whole: list[tuple[int, float]]) -> None:
    rng, process = random.Random(5), begin(tmp_path, "--nproc", "2")
    for attempt, step in enumerate((8, 20, 35), start=1):
        wait_for_step(tmp_path, step, process)
        time.sleep(rng.random() * 0.05)
        os.kill(rng.choice(children(process)), signal.SIGKILL)
        wait_for(lambda before=attempt: len(events(tmp_path, "start")) > before, process)  # type: ignore[misc]
    code, _, err = end(process)
    assert code == 0, err
    assert err.count("was killed by SIGKILL; restarting from step-") == 3
    assert curve(tmp_path) == whole
    noted = [json.loads(line).get("text", "") for line in (tmp_path / "ledger.jsonl").read_text().splitlines()]
    assert sum(text.startswith("Started anew: rank ") and "was killed by SIGKILL" in text for text in noted) == 3


def test_the_job_goes_on_with_fewer_machines(tmp_path: Path, whole: list[tuple[int, float]]) -> None:
    """Two launchers are two machines; one of them is killed, and the other trains the same model by itself."""
    port = free_port()
    options = ["--nproc", "1", "--nodes", "1:2", "--rendezvous", f"localhost:{port}"]
    # Long enough for both to meet on a busy machine: the first does not begin alone.
    first = begin(tmp_path, *options, patience=15)
    wait_for(lambda: is_open(port), first)  # it holds the rendezvous
    second = begin(tmp_path, *options, patience=15)
    wait_for_step(tmp_path, 5, first)
    for pid in (second.pid, *children(second)):
        os.kill(pid, signal.SIGKILL)
    second.communicate()
    code, _, err = end(first)
    assert code == 0, err
    assert "is gone, on 1 of 2 machines; restarting from step-" in err
    found = curve(tmp_path)
    assert [step for step, _ in found] == [step for step, _ in whole]
    assert [loss for _, loss in found] == pytest.approx([loss for _, loss in whole], rel=1e-5)


def test_stopped_mistaken_and_resumed(tmp_path: Path) -> None:
    """Three processes for a batch of two: one has no place, and stands by until all is over."""
    begin_three = partial(begin, tmp_path, "--nproc", "3")
    two = "train.batch={end: 2}"
    process = begin_three(sets=(two, "train.max_steps=100000"))
    wait_for_step(tmp_path, 3, process)
    os.killpg(process.pid, signal.SIGINT)
    code, out, err = end(process)
    assert (code, err) == (130, "")
    assert "Layout for 3 processes: pipeline 1 x data 2 x tensor 1; 1 of them stands by" in out
    (again,) = re.findall(r"Resume with:\n  glm (train tiny .*)", out)
    assert "--nproc 3" in again
    (saved,) = re.findall(r"Stopped after step (\d+), saved", out)
    assert steps(tmp_path)[-1] == int(saved)
    code, _, err = end(begin_three(sets=(two, "model.num_heads=4")))
    assert code == 3, err
    assert re.fullmatch(r"Error: .* was trained with model\.num_heads = 2, .*\n.*\n", err)
    last = int(saved) + 5
    code, out, err = end(begin_three(sets=(two, f"train.max_steps={last}")))
    assert (code, err) == (0, "")
    assert f"resuming after step {saved}" in out
    assert steps(tmp_path) == list(range(1, last + 1))
    assert len(events(tmp_path, "start")) == 3
