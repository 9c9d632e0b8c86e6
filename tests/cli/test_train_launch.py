"""``glm train`` as a launcher: when it is one, what it starts, what it refuses."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from glm130b.launch import Machines


@pytest.fixture
def launched() -> Any:
    with mock.patch("glm130b.launch.launch", return_value=143) as found:
        yield found


def test_several_processes_are_launched_with_the_user_s_own_words(
    glm: Callable[..., Any], launched: mock.Mock, recipe: Path, tmp_path: Path
) -> None:
    words = ["train", str(recipe), "--out", str(tmp_path), "--set", "name=a b", "--device", "cpu", "--nproc", "2"]
    result = glm(*words, "--resume", "none")
    assert result.code == 143, result
    (command, run, elastic), options = launched.call_args
    assert command == [sys.executable, "-m", "glm130b", *words, "--resume", "none"]
    assert (run, elastic.restarts) == (tmp_path, 100)
    assert options == {"nproc": 2, "machines": Machines()}


@pytest.mark.parametrize(
    ("words", "nproc", "machines"),
    [
        (["--set", "parallel={tensor: 2, data: 2}"], 4, Machines()),
        (["--nproc", 1, "--nodes", "2:3", "--rendezvous", "a:1"], 1, Machines(2, 3, "a:1")),
        (["--nodes", "4", "--rendezvous", "a:1", "--set", "parallel.data=8"], 2, Machines(4, 4, "a:1")),
    ],
)
def test_as_many_as_the_layout_has(
    glm: Callable[..., Any],
    launched: mock.Mock,
    recipe: Path,
    tmp_path: Path,
    words: list[object],
    nproc: int,
    machines: Machines,
) -> None:
    batch = ["--set", "train.batch={end: 8}"]
    assert glm("train", recipe, "--out", tmp_path, "--device", "cpu", *batch, *words).code == 143
    assert launched.call_args.kwargs == {"nproc": nproc, "machines": machines}


def test_a_process_alone_needs_no_launcher(launched: mock.Mock, trained: Path) -> None:
    assert not launched.called
    assert not (trained / "launch").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--nodes", "2"], "--nodes needs --rendezvous."),
        (["--nodes", "2", "--rendezvous", "here:99999"], "--rendezvous here:99999 is not HOST:PORT."),
        (["--nodes", "few", "--rendezvous", "a:1"], "--nodes few is no number of machines."),
        (["--set", "parallel.data=100000"], "asks for 100000 processes on this machine"),
    ],
)
def test_what_cannot_be_launched_is_refused(
    refused: Callable[..., str], launched: mock.Mock, recipe: Path, tmp_path: Path, words: list[str], said: str
) -> None:
    assert said in refused(3, "train", recipe, "--out", tmp_path / "run", "--device", "cpu", *words)
    assert not launched.called
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("number", ["0", "-1", "two"])
def test_a_number_of_processes_is_a_number(
    glm: Callable[..., Any], launched: mock.Mock, recipe: Path, tmp_path: Path, number: str
) -> None:
    result = glm("train", recipe, "--out", tmp_path, f"--nproc={number}")
    assert result.code == 2
    assert f"{number} is neither auto nor a number of processes" in result.err
    assert not launched.called


def test_a_run_that_cannot_be_written_is_told_in_a_sentence(refused: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    words = ["--device", "cpu", "--nproc", "2", "--set", "train.batch={end: 8}"]
    assert "Cannot write" in refused(6, "train", "tiny", "--out", tmp_path / "file", *words)
