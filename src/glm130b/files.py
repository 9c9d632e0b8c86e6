"""Files and folders that are either whole or not there."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from glm130b.errors import DataError, GLMError, ResourceError

_MARK = ".partial-"


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder that becomes ``path``, synced to disk, once the block ends without an error.

    The folder has a temporary name beside ``path`` until then, so a reader never meets half of it. What a
    killed process left behind is removed by the next write of the same path.

    Raises:
        DataError: ``path`` exists.
        ResourceError: the disk is full or not writable.
    """
    if path.exists():
        raise DataError(f"{path} exists already.", "Choose another name, or remove it first.")
    partial = path.parent / f"{_MARK}{path.name}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        yield partial
        for file in sorted(partial.rglob("*")):
            _sync(file)
        _sync(partial)
        partial.rename(path)
        _sync(path.parent)
    except (OSError, SafetensorError) as error:
        raise disk_error(path, error) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path whose file replaces ``path``, synced to disk, once the block ends."""
    partial = path.parent / f"{_MARK}{path.name}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        _sync(partial)
        partial.replace(path)
        _sync(path.parent)
    except OSError as error:
        raise disk_error(path, error) from error
    finally:
        with suppress(OSError):
            partial.unlink()


def is_partial(path: Path) -> bool:
    """Whether ``path`` is what a killed process left of a ``whole_folder`` or ``whole_file``."""
    return path.name.startswith(_MARK)


def write_whole(path: Path, text: str) -> None:
    """Write a text file that is whole or not there."""
    with whole_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write readable JSON with a final newline."""
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path: Path, error: type[GLMError]) -> Any:
    """Read JSON; a missing or malformed file raises ``error`` with its name."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise error(f"{path} is missing.", "The folder is incomplete; make or copy it again.") from None
    except (ValueError, UnicodeDecodeError) as fault:
        raise error(f"{path} is not valid JSON ({fault}).", "Make or copy it again.") from None


def disk_error(path: Path, error: OSError | SafetensorError) -> ResourceError:
    """The user's side of a failed write."""
    return ResourceError(
        f"Cannot write {path}: {getattr(error, 'strerror', None) or error}.",
        "Free some space or choose another place; nothing was lost.",
    )


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
