"""The short measurements of plans, and the benchmark's whole way on a small model."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from glm130b.offload import disk_bandwidth, memory_bandwidth, probe

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "offload.py"


class Clock:
    """Every look at it is a second later."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        self.now += 1
        return self.now


def test_bandwidth_is_bytes_over_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "time", Clock())
    monkeypatch.setattr(probe, "_MATRIX", 64)
    assert memory_bandwidth() == 64 * 64 * 4
    (tmp_path / "file").write_bytes(bytes(10_000))
    assert disk_bandwidth(tmp_path / "file") == 10_000
    monkeypatch.setattr(probe, "_FILE_BYTES", 2000)
    monkeypatch.setattr(probe, "_BLOCK_BYTES", 1500)
    assert disk_bandwidth(tmp_path / "file") == 3000


@pytest.mark.slow
def test_the_benchmark_goes_through() -> None:
    options = ["--layers", "3", "--hidden", "256", "--rounds", "1", "--precisions", "int4", "fp32"]
    done = subprocess.run([sys.executable, SCRIPT, *options], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "int4: " in done.stdout
    assert "brought in ahead" in done.stdout.splitlines()[-1]
