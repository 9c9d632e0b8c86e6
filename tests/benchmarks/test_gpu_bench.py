"""The GPU benchmark's code, in Triton's interpreter; what it measures is no matter of tests."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")
SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu_decode.py"
PARTS = ["bandwidth", "accuracy", "gemv", "rows", "decode", "breakdown", "sweep"]


@pytest.mark.slow
def test_a_dry_run_goes_through_every_part(tmp_path: Path) -> None:
    command = [sys.executable, SCRIPT, "--dry-run", "--parts", *PARTS, "--json", tmp_path / "found.json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    assert {"bandwidth", "accuracy", "one row", "several rows", "decode", "breakdown", "sweep"} < set(found)
    assert found["accuracy"]["linear float32"] < 1e-5
