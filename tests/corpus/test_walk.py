"""Every file below a folder is found, through links too, or the reason is named."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from glm130b.corpus.walk import walk_files
from glm130b.errors import DataError


def refused(folder: Path) -> str:
    with pytest.raises(DataError) as told:
        walk_files(folder)
    assert told.value.next_step
    return told.value.problem


def test_without_links_it_is_all_files(tmp_path: Path) -> None:
    chosen = random.Random(3)
    for number in range(60):
        path = tmp_path.joinpath(*(chosen.choice(["a", "b.c", "一", ".d"]) for _ in range(chosen.randrange(4))))
        path.mkdir(parents=True, exist_ok=True)
        (path / f"{number}.txt").touch()
    assert walk_files(tmp_path) == sorted(path for path in tmp_path.rglob("*") if path.is_file())


def test_links_are_followed(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "else" / "deep").mkdir(parents=True)
    (tmp_path / "else" / "deep" / "a.txt").touch()
    (tmp_path / "in" / "link").symlink_to(tmp_path / "else")
    (tmp_path / "in" / "b.txt").symlink_to(tmp_path / "else" / "deep" / "a.txt")
    found = [str(path.relative_to(tmp_path / "in")) for path in walk_files(tmp_path / "in")]
    assert found == ["b.txt", "link/deep/a.txt"]
    (tmp_path / "top").symlink_to(tmp_path / "in")
    assert len(walk_files(tmp_path / "top")) == 2


def test_a_link_upwards_ends(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "x.txt").touch()
    (tmp_path / "a" / "b" / "up").symlink_to(tmp_path / "a")
    (tmp_path / "a" / "here").symlink_to(".")
    assert walk_files(tmp_path) == [tmp_path / "a" / "x.txt"]


def test_what_cannot_be_followed_is_named(tmp_path: Path) -> None:
    (tmp_path / "gone.txt").symlink_to(tmp_path / "nowhere")
    assert refused(tmp_path) == f"{tmp_path / 'gone.txt'} is a link that leads nowhere."
    (tmp_path / "gone.txt").unlink()
    (tmp_path / "self").symlink_to("self")
    assert str(tmp_path / "self") in refused(tmp_path)
    (tmp_path / "self").unlink()
    os.mkfifo(tmp_path / "pipe.jsonl")
    assert refused(tmp_path) == f"{tmp_path / 'pipe.jsonl'} is neither a file nor a folder."


def test_an_unreadable_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without permissions, which do not bind every user."""
    (tmp_path / "closed").mkdir()
    listdir = os.listdir

    def closed(path: Path) -> list[str]:
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return listdir(path)

    monkeypatch.setattr(os, "listdir", closed)
    assert refused(tmp_path) == f"{tmp_path / 'closed'} cannot be read: Permission denied."


def test_folders_can_be_left_out(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.txt").touch()
    (tmp_path / "a" / "gone").symlink_to("nowhere")
    assert walk_files(tmp_path, leave_out=lambda folder: folder.name == "a") == [tmp_path / "b" / "x.txt"]
