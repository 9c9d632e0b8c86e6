"""What only a process of its own can show: signals, pipes and a full disk."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

GLM = [sys.executable, "-m", "glm130b"]

ON_A_SMALL_DISK = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))
from glm130b.cli.main import main
main()
"""


@pytest.mark.slow
def test_a_full_disk(recipe: Path, tmp_path: Path) -> None:
    command = ["train", str(recipe), "--out", str(tmp_path / "run")]
    done = subprocess.run(
        [sys.executable, "-c", ON_A_SMALL_DISK, *command], capture_output=True, text=True, check=False
    )
    assert done.returncode == 6, done.stderr
    assert re.match(r"Error: Cannot write .*step-00000002: .*too large.*\.\n.*\n$", done.stderr), done.stderr
    assert list((tmp_path / "run" / "checkpoints").iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_says_how_to_go_on(recipe: Path, tmp_path: Path, kind: signal.Signals, code: int) -> None:
    out = tmp_path / "a run"
    command = [*GLM, "train", str(recipe), "--out", str(out), "--set", "train.max_steps=100000", "--set", "name=a b"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 60
    while not (out / "metrics.jsonl").exists() or not (out / "metrics.jsonl").stat().st_size:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.05)
    process.send_signal(kind)
    printed, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (code, ""), (printed, errors)
    (again,) = re.findall(r"Resume with:\n  glm (.*)", printed)
    assert shlex.split(again) == command[len(GLM) :]
    (saved,) = re.findall(r"Stopped after step (\d+)", printed)
    assert (out / "checkpoints" / f"step-{int(saved):08d}" / "model.safetensors.index.json").is_file()


def test_a_closed_pipe_is_no_error() -> None:
    """As with ``glm config show 130b | head -0``; needs neither model nor torch."""
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [*GLM, "config", "show", "130b"], stdout=writer, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writer)
    assert "Traceback" not in done.stderr


def test_python_m(tmp_path: Path) -> None:
    done = subprocess.run([*GLM, "config", "show", "nope"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("Error: There is no config file or preset 'nope'.\nPresets are 10b,")
