"""Files and folders that are either whole or not there, whatever goes wrong."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors import SafetensorError

from glm130b import files
from glm130b.errors import ConfigError, DataError, ModelError, ResourceError
from glm130b.files import is_partial, parse_size, read_json, whole_file, whole_folder, write_json


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def fill_folder(path: Path, fault: BaseException) -> None:
    with whole_folder(path) as folder:
        (folder / "a").write_text("a")
        raise fault


def fill_file(path: Path, fault: BaseException) -> None:
    with whole_file(path) as partial:
        partial.write_text("a")
        raise fault


def test_a_folder_appears_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "x"
    with whole_folder(path) as folder:
        (folder / "sub").mkdir()
        (folder / "sub" / "a").write_text("a")
        assert not path.exists()
        assert is_partial(folder)
    assert (path / "sub" / "a").read_text() == "a"
    assert names(path.parent) == ["x"]


def test_a_file_appears_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "x"
    with whole_file(path) as partial:
        partial.write_text("a")
        assert not path.exists()
        assert is_partial(partial)
    assert path.read_text() == "a"
    assert names(path.parent) == ["x"]


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt, ModelError])
def test_an_exception_leaves_nothing(tmp_path: Path, kind: type[BaseException]) -> None:
    for fill in (fill_folder, fill_file):
        with pytest.raises(kind):
            fill(tmp_path / "x", kind("why"))
    assert names(tmp_path) == []


def test_an_exception_keeps_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "y").write_text("old")
    with pytest.raises(ValueError, match="why"):
        fill_file(tmp_path / "y", ValueError("why"))
    assert (tmp_path / "y").read_text() == "old"


def test_a_folder_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with whole_folder(path) as folder:
        (folder / "old").touch()
    with pytest.raises(DataError, match="exists already"), whole_folder(path) as folder:
        pass
    assert names(path) == ["old"]
    assert names(tmp_path) == ["x"]


def test_a_folder_made_meanwhile_is_kept(tmp_path: Path) -> None:
    writing = whole_folder(tmp_path / "x")
    (writing.__enter__() / "mine").touch()
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "theirs").touch()
    with pytest.raises(ResourceError):
        writing.__exit__(None, None, None)
    assert names(tmp_path / "x") == ["theirs"]


KILLED = """
import os, signal, sys
from pathlib import Path
from glm130b import files
with getattr(files, sys.argv[1])(Path(sys.argv[2])) as partial:
    target = partial / "a" if partial.is_dir() else partial
    target.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("kind", ["whole_folder", "whole_file"])
def test_a_killed_process_leaves_no_name(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x"
    killed = subprocess.run([sys.executable, "-c", KILLED, kind, str(path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert is_partial(left)
    if kind == "whole_folder":
        with whole_folder(path) as folder:
            assert names(folder) == []
            (folder / "b").touch()
        assert names(path) == ["b"]
    else:
        with whole_file(path) as partial:
            partial.write_text("whole")
        assert path.read_text() == "whole"
    assert names(tmp_path) == ["x"]


@pytest.mark.parametrize(
    "fault", [OSError(errno.ENOSPC, "No space left on device"), SafetensorError("I/O error: No space left on device")]
)
def test_a_full_disk_while_writing(tmp_path: Path, fault: Exception) -> None:
    with pytest.raises(ResourceError) as caught:
        fill_folder(tmp_path / "x", fault)
    assert caught.value.exit_code == 6
    assert str(tmp_path / "x") in caught.value.problem
    assert "No space left on device" in caught.value.problem
    assert names(tmp_path) == []


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_a_full_disk_while_syncing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    (tmp_path / "y").write_text("old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    if kind == "folder":
        with pytest.raises(ResourceError, match="No space left"), whole_folder(tmp_path / "x") as folder:
            (folder / "a").write_text("a")
    else:
        with pytest.raises(ResourceError, match="No space left"), whole_file(tmp_path / "y") as partial:
            partial.write_text("new")
    assert names(tmp_path) == ["y"]
    assert (tmp_path / "y").read_text() == "old"


def test_everything_is_synced_before_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[tuple[str, bool]] = []
    monkeypatch.setattr(files, "_sync", lambda path: synced.append((path.name, (tmp_path / "x").exists())))
    with whole_folder(tmp_path / "x") as folder:
        (folder / "a").touch()
    assert synced == [("a", False), (".partial-x", False), (tmp_path.name, True)]


def test_no_place_to_write(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "x", Path("/proc/nope/x")):
        with pytest.raises(ResourceError, match="Cannot write"), whole_folder(path):
            pass
        with pytest.raises(ResourceError, match="Cannot write"), whole_file(path):
            pass
    assert names(tmp_path) == ["file"]


def test_json(tmp_path: Path) -> None:
    value = {"b": [1, None, 0.5], "a": "中文"}
    write_json(tmp_path / "a.json", value)
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert "中文" in text
    assert text.endswith("}\n")
    assert read_json(tmp_path / "a.json", DataError) == value


@pytest.mark.parametrize("content", [b"", b"{", b'{"a": "\xe9"}'])
def test_json_that_is_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=f"{path} is not valid JSON"):
        read_json(path, ModelError)
    path.unlink()
    with pytest.raises(DataError, match=f"{path} is missing"):
        read_json(path, DataError)
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be read: Not a directory"):
        read_json(tmp_path / "file" / "a.json", DataError)


@pytest.mark.parametrize(
    ("text", "size"),
    [("8GB", 8 * 10**9), ("1.5 TB", 1_500_000_000_000), ("16GiB", 16 * 2**30), ("500M", 5 * 10**8), ("2kB", 2000)],
)
def test_sizes_as_people_write_them(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "8", "GB", "-1GB", "0GB", "8 GBit", "1e9B", "8,5GB"])
def test_other_sizes_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="not an amount of memory"):
        parse_size(text)
