"""Which code a run was trained by."""

from __future__ import annotations

import hashlib
import os
import subprocess
from functools import cache
from pathlib import Path

import glm130b
from glm130b.files import sha256_of_file

_PACKAGE = Path(glm130b.__file__).resolve().parent
_GIT_SECONDS = 30.0


@cache
def code_hash() -> str:
    """SHA-256, in hex, over the path and content of every ``.py`` and ``.yaml`` file of this package.

    Files are read once, at the first call.
    """
    files = {path.relative_to(_PACKAGE).as_posix(): path for path in _PACKAGE.rglob("*") if path.is_file()}
    digest = hashlib.sha256()
    for name in sorted(name for name in files if name.endswith((".py", ".yaml"))):
        digest.update(f"{name}\0{sha256_of_file(files[name])}\n".encode())
    return digest.hexdigest()


def git_commit() -> str | None:
    """The commit this package is checked out at, ``-dirty`` if files differ from it; None outside a checkout."""
    # An environment may lie in another project's checkout: only one that tracks the package counts.
    if _git("ls-files", "--error-unmatch", "__init__.py") is None:
        return None
    return _git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=_PACKAGE,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
            capture_output=True,
            text=True,
            timeout=_GIT_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
