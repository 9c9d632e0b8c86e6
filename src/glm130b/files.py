"""Files and folders that are either whole or not there."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from glm130b.errors import ConfigError, DataError, GLMError, ResourceError

_MARK = ".partial-"
_PROGRESS = "progress.json"
_LOCK = ".lock"


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder that becomes ``path``, synced to disk, once the block ends without an error.

    The folder has a temporary name beside ``path`` until then, so a reader never meets half of it. What a
    killed process left behind is removed by the next write of the same path.

    Raises:
        DataError: ``path`` exists.
        ResourceError: the disk is full or not writable.
    """
    refuse_existing(path)
    partial = partial_path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        yield partial
        publish(partial, path)
    except (OSError, SafetensorError) as error:
        raise disk_error(path, error) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def publish(partial: Path, path: Path) -> None:
    """Sync a folder to disk, then give it its name.

    Raises:
        OSError: the disk is full or not writable.
    """
    for file in sorted(partial.rglob("*")):
        _sync(file)
    _sync(partial)
    partial.rename(path)
    _sync(path.parent)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path whose file replaces ``path``, synced to disk, once the block ends."""
    partial = partial_path(path)
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


class Progress:
    """Which parts of a folder are finished, kept in the folder itself so that a later process can go on."""

    def __init__(self, folder: Path, job: dict[str, Any]) -> None:
        self.folder = folder
        self._job = job
        self._parts: dict[str, tuple[int, Any]] = {}

    def finished(self, part: str) -> Any | None:
        """What was recorded of a part, or None."""
        _, facts = self._parts.get(part, (0, None))
        return facts

    @property
    def num_bytes(self) -> int:
        """Size of all finished parts."""
        return sum(size for size, _ in self._parts.values())

    def finish(self, part: str, facts: Any) -> None:
        """Record that a file, already synced to disk, is complete."""
        self._parts[part] = ((self.folder / part).stat().st_size, facts)
        self._save()

    def clean(self) -> None:
        """Remove all files but the finished parts."""
        keep = {self.folder / part for part in (*self._parts, _LOCK)}
        for file in self.folder.rglob("*"):
            if file.is_file() and file not in keep:
                file.unlink()
        self._save()

    def _save(self) -> None:
        text = json.dumps({"job": self._job, "parts": self._parts}, indent=1)
        write_whole(self.folder / _PROGRESS, text)

    def resume(self) -> None:
        """Take over what an earlier process finished of the same job."""
        try:
            found = json.loads((self.folder / _PROGRESS).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return
        if not isinstance(found, dict) or found.get("job") != self._job:
            return
        for part, (size, facts) in found["parts"].items():
            file = self.folder / part
            if file.is_file() and file.stat().st_size == size:
                self._parts[part] = (size, facts)


@contextmanager
def resumable_folder(path: Path, job: dict[str, Any]) -> Iterator[Progress]:
    """Like ``whole_folder``, but what was finished when the block was left by an error or a kill is kept.

    Args:
        job: JSON that says what is being made; only the very same job is taken up again.

    Raises:
        DataError: ``path`` exists.
        ResourceError: another process is writing it; the disk is full or not writable.
    """
    refuse_existing(path)
    partial = partial_path(path)
    progress = Progress(partial, job)
    try:
        partial.mkdir(parents=True, exist_ok=True)
        with folder_lock(partial, f"Another process is writing {path}."):
            progress.resume()
            progress.clean()
            try:
                yield progress
            except GLMError as error:
                if progress.num_bytes:
                    kept = f"{error.next_step} What was finished is kept in {partial}."
                    raise type(error)(error.problem, kept) from None
                shutil.rmtree(partial)
                raise
            for file in sorted(partial.rglob("*")):
                _sync(file)
            partial.rename(path)
            for file in (path / _PROGRESS, path / _LOCK):
                file.unlink()
            _sync(path.parent)
    except (OSError, SafetensorError) as error:
        raise disk_error(path, error) from error


@contextmanager
def folder_lock(folder: Path, refusal: str) -> Iterator[None]:
    """Make a folder if need be and keep other processes out; the lock ends with the process, however that ends.

    Raises:
        ResourceError: ``refusal``, if another process holds it; or the folder cannot be made.
    """
    import fcntl

    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / _LOCK).open("w")
    except OSError as error:
        raise disk_error(folder, error) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ResourceError(refusal, "Wait for it, or choose another folder.") from None
        yield


def refuse_existing(path: Path) -> None:
    """Raise DataError if there is something at ``path`` that would be overwritten, or it is no name for a new one."""
    if path.name in ("", ".."):
        raise DataError(f"{path} is not the name of a new folder or file.", "Choose another name.")
    try:
        path.lstat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise disk_error(path, error) from error
    raise DataError(f"{path} exists already.", "Choose another name, or remove it first.")


def check_free_space(path: Path, needed: int, purpose: str, remedy: str) -> None:
    """Refuse to begin what the disk that ``path`` will lie on cannot hold.

    Raises:
        ResourceError: with the bytes needed and free, what for, and the remedy.
    """
    place = next(parent for parent in (path, *path.resolve().parents) if parent.exists())
    free = shutil.disk_usage(place).free
    if free < needed:
        raise ResourceError(f"{path} needs {size_text(needed)} for {purpose}, {size_text(free)} are free.", remedy)


def size_text(num_bytes: float) -> str:
    """Bytes as a person reads them."""
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:.1f} MB"


def parse_size(text: str) -> int:
    """Bytes from what a person writes: 8GB, 1.5 TB, 16GiB, 500MB; units are powers of 1000, those with an i of 1024.

    Raises:
        ConfigError: not a positive number of bytes with a unit.
    """
    found = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([kKMGT])(i?)B?\s*", text)
    size = float(found[1]) * (1024 if found[3] else 1000) ** ("KMGT".index(found[2].upper()) + 1) if found else 0
    if size < 1:
        raise ConfigError(f"{text!r} is not an amount of memory.", "Write it like 8GB, 500MB or 16GiB.")
    return int(size)


def partial_path(path: Path) -> Path:
    """Where a folder or file lies until it is whole."""
    return path.parent / f"{_MARK}{path.name}"


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
    except OSError as fault:
        raise error(f"{path} cannot be read: {fault.strerror}.", "Make or copy it again.") from None
    except ValueError as fault:
        raise error(f"{path} is not valid JSON ({fault}).", "Make or copy it again.") from None


def sha256_of_file(path: Path) -> str:
    """SHA-256 of a file's content, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def disk_error(path: Path, error: OSError | SafetensorError) -> ResourceError:
    """The user's side of a failed write."""
    return ResourceError(
        f"Cannot write {path}: {getattr(error, 'strerror', None) or error}.",
        "Free some space or choose another place; what was saved before is kept.",
    )


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
