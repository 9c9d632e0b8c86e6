"""An environment of its own for the other systems: nothing of it is needed by, or put into, the project's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch

PACKAGES = ["gguf==0.19.0", "ctranslate2==4.8.5", "transformers==5.24.0"]
LLAMA = "llama-cpp-python==0.3.36"
TILE_CONFIG = Path(__file__).with_name("tile_config.h")


def python(folder: Path) -> Path:
    return folder / "env" / "bin" / "python"


def install(folder: Path) -> None:
    """Make the environment in ``folder``, with the torch that runs this, and build llama.cpp for this machine."""
    subprocess.run([sys.executable, "-m", "venv", folder / "env"], check=True)
    pip = [python(folder), "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, f"torch=={torch.__version__.split('+')[0]}", *PACKAGES], check=True)
    # A wheel of an earlier build may lie in the cache, made for another machine or without the mended header.
    build = {**os.environ, "CXXFLAGS": f"-include {TILE_CONFIG}"}
    subprocess.run([*pip, "--no-cache-dir", "--no-binary", "llama-cpp-python", LLAMA], check=True, env=build)
