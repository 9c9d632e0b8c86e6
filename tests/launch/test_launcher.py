"""Whole jobs of workers that train nothing: what the launcher makes of their ends."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import jobs
import pytest
from jobs import STAND_IN, end, events, free_port, steps, wait_for, wait_for_step

from glm130b.launch import LaunchFolder

FAST = {"last_call_timeout": "1", "keep_alive_interval": "1"}
"""A machine is given up after three seconds."""

HOST = socket.gethostname()

pytestmark = pytest.mark.slow


def begin(run: Path, **options: Any) -> subprocess.Popen[str]:
    return jobs.begin([sys.executable, str(STAND_IN), "launch", str(run), json.dumps(options)])


def workers(run: Path) -> list[int]:
    """Processes of the newest attempt."""
    newest = max((run / "sync").iterdir(), key=lambda path: int(path.name))
    return [int(file.read_text()) for file in sorted(newest.glob("pid-*"))]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_whatever_fails_the_job_goes_on_and_the_culprit_is_named(tmp_path: Path) -> None:
    faults = [[1, 1, 3, "crash"], [2, 0, 4, "kill"], [3, 1, 5, "hang"], [4, 1, 6, "freeze"]]
    code, out, err = end(begin(tmp_path, faults=faults, hang_seconds=4))
    assert code == 0, err
    assert steps(tmp_path) == list(range(1, 9))
    assert out.splitlines() == [f"rank 0 of 2 from step {step}" for step in (0, 2, 2, 4, 4)]
    reasons = [
        f"rank 1 on host {HOST} ended with exit code 1: RuntimeError: a bug",
        f"rank 0 on host {HOST} was killed by SIGKILL",
        f"rank 1 on host {HOST} hung in the loader at step 5 (stand_in.py:",
        f"rank 1 on host {HOST} is stopped, or the machine is: no sign of life for",
    ]
    found = events(tmp_path, "failure")
    for reason, event, line in zip(reasons, found, err.splitlines(), strict=True):
        assert line == f"{event['reason']}; restarting from {event['checkpoint']}"
        assert line.startswith(reason)
    facts = [(event["attempt"], event["ranks"], event["step"]) for event in found]
    assert facts == [(1, [1], 2), (2, [0], 3), (3, [1], 4), (4, [1], 5)]
    stacks = LaunchFolder(tmp_path).hang_reports(3)[1].stacks
    assert "in load" in "".join(stacks["MainThread"])
    log = tmp_path / "logs" / "attempt-0001-rank-00001.traceback"
    assert log.read_text().endswith("RuntimeError: a bug\n")


def test_ranks_killed_at_random(tmp_path: Path) -> None:
    rng, process = random.Random(7), begin(tmp_path, steps=30, pause=0.02, nproc=3)
    for attempt, step in enumerate((4, 11, 21), start=1):
        wait_for_step(tmp_path, step, process)
        os.kill(rng.choice(workers(tmp_path)), signal.SIGKILL)
        wait_for(lambda before=attempt: len(events(tmp_path, "start")) > before, process)  # type: ignore[misc]
    code, _, err = end(process)
    assert (code, steps(tmp_path)) == (0, list(range(1, 31))), err
    assert ["was killed by SIGKILL" in event["reason"] for event in events(tmp_path, "failure")] == [True] * 3


def test_a_user_s_error_is_one_sentence_and_not_tried_again(tmp_path: Path) -> None:
    code, _, err = end(begin(tmp_path, faults=[[0, 1, 3, "user"]]))
    assert (code, err) == (4, "Error: shard-7 is damaged.\nCopy it again.\n")
    assert [event["event"] for event in LaunchFolder(tmp_path).events()] == ["start", "failure", "end"]


def test_a_step_that_always_fails_ends_the_job_with_the_last_words(tmp_path: Path) -> None:
    code, _, err = end(begin(tmp_path, faults=[[0, 1, 4, "crash"]]))
    assert code == 1
    assert [event["restart"] for event in events(tmp_path, "failure")] == [True, True, False]
    log = tmp_path / "logs" / "attempt-0003-rank-00001.traceback"
    assert err[err.index(f"The last lines of {log}:") :].splitlines()[-2:] == [
        "  RuntimeError: a bug",
        f"Stopped: rank 1 on host {HOST} ended with exit code 1: RuntimeError: a bug; step 4 failed 3 times in a row.",
    ]


@pytest.mark.parametrize(("kind", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_reaches_the_workers_once_and_all_end(tmp_path: Path, kind: signal.Signals, code: int) -> None:
    process = begin(tmp_path, steps=10_000, pause=0.02)
    wait_for_step(tmp_path, 3, process)
    pids = workers(tmp_path)
    os.killpg(process.pid, kind)
    found, out, err = end(process)
    assert (found, err) == (code, "")
    assert out.count("Resume with") == 1
    assert (tmp_path / "checkpoints" / f"step-{steps(tmp_path)[-1]:08d}").is_dir()
    assert not any(map(alive, pids))
    assert [event["exit_code"] for event in events(tmp_path, "end")] == [code]


def test_workers_do_not_outlive_their_launcher(tmp_path: Path) -> None:
    process = begin(tmp_path, steps=10_000, pause=0.02, hang_seconds=5)
    wait_for_step(tmp_path, 3, process)
    pids = workers(tmp_path)
    process.kill()
    process.communicate()
    wait_for(lambda: not any(map(alive, pids)))


def test_machines_come_and_go(tmp_path: Path) -> None:
    """Two launchers on this machine are two machines: the second comes late, is killed, and the first goes on."""
    meet = {"fewest": 1, "most": 2, "rendezvous": f"localhost:{free_port()}", "options": FAST}
    options = {"steps": 100_000, "pause": 0.02, "nproc": 1, "machines": meet}
    first = begin(tmp_path, **options)

    def wait_for_machines(*numbers: int) -> None:
        """Until attempts on so many machines have been made, and the last one trains."""
        wait_for(lambda: [len(event["nodes"]) for event in events(tmp_path, "start")] == [*numbers], first)
        wait_for_step(tmp_path, steps(tmp_path)[-1] + 3 if steps(tmp_path) else 3, first)

    wait_for_machines(1)
    second = begin(tmp_path, **options)
    wait_for_machines(1, 2)
    second.kill()
    second.communicate()
    wait_for_machines(1, 2, 1)
    first.send_signal(signal.SIGINT)
    code, out, err = end(first)
    assert code == 130, err
    assert steps(tmp_path) == list(range(1, len(steps(tmp_path)) + 1))
    came, went = err.splitlines()
    assert came.startswith("another machine has come; restarting from step-")
    assert went.startswith(f"the launcher of rank 1 on host {HOST} is gone, on 1 of 2 machines; restarting from step-")
    assert [line[:13] for line in out.splitlines() if line.startswith("rank")] == [
        f"rank 0 of {n} f" for n in (1, 2, 1)
    ]
    assert [event["ranks"] for event in events(tmp_path, "failure")] == [[1]]
