"""Every GPU kernel compiles for every generation of cards, without a GPU."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")
ROOT = Path(__file__).parents[2]
SHARED_LIMITS = {75: 64, 80: 163, 86: 99, 89: 99, 90: 227}
"""KiB a block may have, from NVIDIA's programming guide."""


@pytest.mark.slow
@pytest.mark.parametrize("capability", list(SHARED_LIMITS))
def test_kernels_fit_the_card(capability: int) -> None:
    """In a process of its own, for here kernels are interpreted: registers at most 255, none spilled."""
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "gpu_resources.py", "--capabilities", str(capability)],
        env=os.environ | {"TRITON_INTERPRET": "0"},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = [line.strip("| ").split(" | ") for line in done.stdout.splitlines()[2:]]
    assert len(lines) > 30
    for kernel, cell in lines:
        if capability < 80 and kernel.startswith("gemm"):
            assert cell == "cuBLAS"
            continue
        found = re.fullmatch(r"(\d+), ([\d.]+) KiB", cell)  # a stack would be told behind
        assert found is not None, f"{kernel}: {cell}"
        assert int(found[1]) <= 255
        assert float(found[2]) <= SHARED_LIMITS[capability], kernel
