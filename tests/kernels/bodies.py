"""The C kernels compiled for every kind of CPU that this one can stand in for."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

import pytest

from glm130b.kernels.cpu import Library, NoKernelsError, build

BODIES = {"native": ("native", ()), "AVX2": ("haswell", ()), "portable C": ("native", ("GLM_PORTABLE",))}


@cache
def body(name: str) -> Library:
    """Compiled anew for this process; skips the test where there is no compiler, or no such CPU."""
    march, defines = BODIES[name]
    folder = Path(tempfile.mkdtemp())
    try:
        build(folder / "glm.so", march=march, defines=defines)
        return Library(folder / "glm.so")
    except NoKernelsError as reason:
        pytest.skip(str(reason))
