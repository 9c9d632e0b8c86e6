"""Builds the C kernels with the system's compiler and finds what was built before.

``GLM_KERNELS`` may be ``auto`` (default), ``off``, which forbids compiling and uses PyTorch's operators, or the path of
a library that was built ahead of time. ``GLM_KERNELS_CACHE`` is where libraries are kept; default
``glm130b/kernels`` in the user's cache folder.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

SOURCES = Path(__file__).parent / "csrc"
AHEAD_OF_TIME = Path(__file__).parent / "libglm.so"
"""Where a package may put a library that it has built; it is used on every CPU that has its instructions."""

_FLAGS = ("-std=gnu11", "-O3", "-fopenmp", "-shared", "-fPIC", "-fno-math-errno", "-fno-trapping-math")
_SECONDS = 300


class NoKernelsError(Exception):
    """Why there are no C kernels, in a few words."""


def find_compiler() -> list[str]:
    """The command of a C compiler: ``$CC``, or the first of gcc, cc and clang.

    Raises:
        NoKernelsError: there is none.
    """
    given = os.environ.get("CC", "").strip()
    try:
        commands = [shlex.split(given)] if given else [["gcc"], ["cc"], ["clang"]]
    except ValueError:
        commands = []
    for command in commands:
        if shutil.which(command[0]):
            return command
    raise NoKernelsError(f"CC names {given}, which is no program" if given else "no C compiler was found")


def build(destination: Path, *, march: str = "native", defines: tuple[str, ...] = ()) -> None:
    """Compile the kernels into a shared library, which appears whole or not at all.

    Args:
        march: the CPU to compile for, as gcc calls it: ``native``, ``x86-64-v3`` (AVX2), ``cascadelake``, …
        defines: macros to set; ``GLM_PORTABLE`` leaves vector instructions to the compiler.

    Raises:
        NoKernelsError: no compiler, or it failed.
        OSError: ``destination`` cannot be written.
    """
    compiler = find_compiler()
    machine = "-march" if platform.machine() in ("x86_64", "AMD64") else "-mcpu"
    flags = [*_FLAGS, f"{machine}={march}", *(f"-D{name}" for name in defines)]
    handle, name = tempfile.mkstemp(dir=destination.parent, suffix=".so")
    os.close(handle)
    try:
        command = [*compiler, *flags, "-o", name, str(SOURCES / "glm.c"), "-lm", "-lpthread"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
        if done.returncode:
            error = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr[:200])
            raise NoKernelsError(f"{compiler[0]} failed: {error.strip() or f'exit code {done.returncode}'}")
        Path(name).chmod(0o755)
        Path(name).replace(destination)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoKernelsError(f"{compiler[0]} did not run: {error}") from None
    finally:
        Path(name).unlink(missing_ok=True)


@cache
def library_path() -> Path:
    """The library for this machine, compiled now if there is none of these sources, compiler and CPU.

    Raises:
        NoKernelsError: it is switched off, or cannot be made.
    """
    wish = os.environ.get("GLM_KERNELS", "").strip() or "auto"
    if wish.lower() == "off":
        raise NoKernelsError("GLM_KERNELS=off forbids compiling")
    try:
        if wish.lower() != "auto":
            if not Path(wish).is_file():
                raise NoKernelsError(f"GLM_KERNELS names {wish}, which is no file")
            return Path(wish)
        return AHEAD_OF_TIME if AHEAD_OF_TIME.is_file() else _kept()
    except OSError as error:
        raise NoKernelsError(f"no library can be kept: {error}") from None


def _kept() -> Path:
    """The library of the cache, which has the SHA-256 of its content in its name."""
    folder, key = _cache_folder(), _key()
    for path in folder.glob(f"glm-{key}-*.so"):
        if path.stem.endswith(_digest(path)):
            return path
        path.unlink(missing_ok=True)  # damaged: loading it could end the process
    with tempfile.TemporaryDirectory(dir=folder) as place:
        made = Path(place) / "glm.so"
        build(made)
        return made.replace(folder / f"glm-{key}-{_digest(made)}.so")


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def _cache_folder() -> Path:
    given = os.environ.get("GLM_KERNELS_CACHE")
    try:
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        folder = Path(given) if given else home / "glm130b" / "kernels"
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder
    except (OSError, RuntimeError):
        pass
    folder = Path(tempfile.mkdtemp(prefix="glm-kernels-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _key() -> str:
    """Of all that decides what a library does: sources, compiler, flags and the CPU's instructions."""
    digest = hashlib.sha256()
    for source in sorted(SOURCES.iterdir()):
        digest.update(source.name.encode() + source.read_bytes())
    compiler = find_compiler()
    try:
        version = subprocess.run([*compiler, "--version"], capture_output=True, timeout=60, check=False).stdout
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoKernelsError(f"{compiler[0]} did not run: {error}") from None
    digest.update(version + " ".join((*_FLAGS, platform.machine())).encode())
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        digest.update(next((line for line in lines if line.startswith(("flags", "Features"))), "").encode())
    except OSError:
        digest.update(platform.processor().encode())
    return digest.hexdigest()[:24]
