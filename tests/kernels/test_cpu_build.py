"""Building, finding and doing without the C kernels."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from glm130b.kernels.cpu import NoKernelsError, build

needs_compiler = pytest.mark.skipif(
    shutil.which(os.environ.get("CC", "gcc")) is None, reason="compiles, and there is no C compiler"
)
CODE = """
import torch
from glm130b import kernels
from glm130b.kernels.plain import dequantize
draws = torch.Generator().manual_seed(0)
for bits, groups in ((4, 1), (4, 2), (8, 1), (8, 2)):
    weight = torch.randint(-127, 128, (32, 256 * bits // 8), generator=draws, dtype=torch.int8)
    scale = torch.rand(32, groups, generator=draws).half()
    scale = scale.squeeze(1) if groups == 1 else scale
    for rows in (1, 3, 40):
        x = torch.randn(rows, 256, generator=draws)
        exact = x @ dequantize(weight, scale, bits).float().T
        with torch.no_grad():
            found = kernels.linear(x, weight, scale, bits)
        assert (found - exact).norm() / exact.norm() < TOLERANCE, (bits, groups, rows)
print("right")
"""


def run(tolerance: float, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", CODE.replace("TOLERANCE", str(tolerance))],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        check=False,
    )


@needs_compiler
@pytest.mark.slow
def test_compiled_once_and_kept(tmp_path: Path) -> None:
    for _ in range(2):
        done = run(1e-3, GLM_KERNELS_CACHE=str(tmp_path))
        assert (done.stdout, done.stderr) == ("right\n", "")
        kept = list(tmp_path.iterdir())
        assert len(kept) == 1
    stamp = kept[0].stat().st_mtime_ns
    run(1e-3, GLM_KERNELS_CACHE=str(tmp_path))
    assert kept[0].stat().st_mtime_ns == stamp


@pytest.mark.slow
def test_switched_off() -> None:
    done = run(1e-2, GLM_KERNELS="off")
    assert done.stdout == "right\n"
    assert done.stderr == (
        "Quantised weights are multiplied by PyTorch's operators, in BF16 and more slowly: "
        "GLM_KERNELS=off forbids compiling.\n"
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "told"),
    [(None, "did not run"), ("#!/bin/sh\necho 'x.c:1: error: no such thing' >&2; exit 1\n", "error: no such thing")],
)
def test_a_compiler_that_is_missing_or_fails(tmp_path: Path, script: str | None, told: str) -> None:
    compiler = tmp_path / "cc"
    compiler.write_text(script or "#!/no/such/shell\n")
    compiler.chmod(0o755)
    folder = tmp_path / "cache"
    done = run(1e-2, CC=str(compiler), GLM_KERNELS_CACHE=str(folder))
    assert done.stdout == "right\n"
    assert done.stderr.count("\n") == 1
    assert told in done.stderr or script is None
    assert list(folder.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("content", [b"", b"not a library", None])
def test_a_library_that_is_none(tmp_path: Path, content: bytes | None) -> None:
    library = tmp_path / "glm.so"
    if content is not None:
        library.write_bytes(content)
    done = run(1e-2, GLM_KERNELS=str(library))
    assert done.stdout == "right\n"
    assert done.stderr.count("\n") == 1
    assert str(library) in done.stderr


@needs_compiler
@pytest.mark.slow
def test_built_ahead_of_time(tmp_path: Path) -> None:
    library = tmp_path / "glm.so"
    command = [sys.executable, "-m", "glm130b.kernels.cpu", "--build", str(library), "--march", "native"]
    subprocess.run(command, check=True, capture_output=True)
    assert [path.name for path in tmp_path.iterdir()] == ["glm.so"]
    done = run(1e-3, GLM_KERNELS=str(library), CC="/no/such/compiler")
    assert (done.stdout, done.stderr) == ("right\n", "")
    told = subprocess.run(
        [sys.executable, "-m", "glm130b.kernels.cpu"],
        env={**os.environ, "GLM_KERNELS": str(library)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.endswith(f", {library}\n")


@needs_compiler
@pytest.mark.slow
def test_a_damaged_library_is_built_anew(tmp_path: Path) -> None:
    run(1e-3, GLM_KERNELS_CACHE=str(tmp_path))
    (kept,) = tmp_path.iterdir()
    whole = kept.read_bytes()
    kept.write_bytes(whole[:20000])
    done = run(1e-3, GLM_KERNELS_CACHE=str(tmp_path))
    assert (done.stdout, done.stderr) == ("right\n", "")
    (again,) = tmp_path.iterdir()
    assert len(again.read_bytes()) == len(whole)


@pytest.mark.slow
@pytest.mark.parametrize(
    "environment",
    [
        {"GLM_KERNELS": "x" * 300},
        {"CC": 'gcc "', "GLM_KERNELS_CACHE": "NEW"},
        {"CC": "no-such-cc", "GLM_KERNELS_CACHE": "NEW"},
    ],
)
def test_odd_settings_are_told_in_a_line(tmp_path: Path, environment: dict[str, str]) -> None:
    done = run(1e-2, **{name: value.replace("NEW", str(tmp_path / "new")) for name, value in environment.items()})
    assert done.stdout == "right\n"
    assert done.stderr.count("\n") == 1


FORKS = """
import os, torch
from glm130b import kernels
torch.set_num_threads(2)
weight, scale, x = torch.ones(64, 128, dtype=torch.int8), torch.ones(64).half(), torch.ones(1, 128)
with torch.no_grad():
    kernels.linear(x, weight, scale, 8)
    child = os.fork()
    if not child:
        os._exit(0 if kernels.linear(x, weight, scale, 8)[0, 0] == 128 else 1)
    print(os.waitpid(child, 0)[1])
"""


@needs_compiler
@pytest.mark.slow
def test_a_forked_process_multiplies_too() -> None:
    done = subprocess.run([sys.executable, "-c", FORKS], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout == "0\n"


@needs_compiler
def test_a_wrong_cpu_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(NoKernelsError, match="failed"):
        build(tmp_path / "glm.so", march="no-such-cpu")
    assert list(tmp_path.iterdir()) == []
