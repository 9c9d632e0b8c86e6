"""Jobs that tests start, and what is to be seen of them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from glm130b.launch import LaunchFolder

STAND_IN = Path(__file__).with_name("stand_in.py")
PATIENCE = 300.0
"""Seconds; the machine may be busy with other tests."""


def begin(command: Sequence[str], **environment: str) -> subprocess.Popen[str]:
    """Start a launcher in a process group of its own, as a shell does."""
    return subprocess.Popen(
        command,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )


def end(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Exit code, and what it printed, of a launcher that ends by itself."""
    out, err = process.communicate(timeout=PATIENCE)
    return process.returncode, out, err


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str] | None = None) -> None:
    """Wait until something is so while a launcher runs."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert process is None or process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def records(run: Path) -> list[dict[str, Any]]:
    """Of each step; a line that is just being written is left out."""
    metrics = run / "metrics.jsonl"
    return [json.loads(line) for line in metrics.read_text().split("\n")[:-1]] if metrics.exists() else []


def steps(run: Path) -> list[int]:
    return [record["step"] for record in records(run)]


def wait_for_step(run: Path, step: int, process: subprocess.Popen[str]) -> None:
    wait_for(lambda: max(steps(run), default=0) >= step, process)


def events(run: Path, kind: str) -> list[dict[str, Any]]:
    return [event for event in LaunchFolder(run).events() if event["event"] == kind]


def children(process: subprocess.Popen[str]) -> list[int]:
    """A launcher's workers on this machine."""
    return [int(text) for text in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return int(found.getsockname()[1])


def is_open(port: int) -> bool:
    """Whether somebody on this machine listens there."""
    with socket.socket() as found:
        return found.connect_ex(("localhost", port)) == 0
