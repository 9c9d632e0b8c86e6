"""The ledger: a chain of lines that survives kills, notices changes and travels with checkpoints."""

from __future__ import annotations

import hashlib
import json
import math
import threading
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import small_config

from glm130b import code_hash as code
from glm130b.errors import ModelError, ResourceError
from glm130b.samples import sample_number
from glm130b.training.ledger import Ledger
from glm130b.training.ledger_lines import LEDGER, differences, numbers_drawn, read_ledger
from glm130b.training.progress import Progress

CONFIG = small_config().run
ALONE = ["here"]
RECORD = {"step": 1, "learning_rate": 1e-3, "alpha": 0.1, "loss_scale": 65536.0, "loss": 5.0, "grad_norm": 1.0}


def write_steps(ledger: Ledger, progress: Progress, count: int, *, applied: bool = True) -> Progress:
    for _ in range(count):
        after = progress.after(4, applied=applied)
        ledger.step(progress, after, RECORD)
        progress = after
    return progress


def lines_of(run: Path) -> list[dict[str, Any]]:
    return [line for line, _ in read_ledger(run / LEDGER)]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of five steps with a checkpoint after the third, killed after the fifth."""
    with Ledger(tmp_path) as ledger:
        ledger.session(CONFIG, Progress(), ALONE)
        progress = write_steps(ledger, Progress(), 3)
        checkpoint = tmp_path / "checkpoints" / "step-00000003"
        checkpoint.mkdir(parents=True)
        ledger.copy_to(checkpoint)
        write_steps(ledger, progress, 2)
        ledger.checkpoint(checkpoint, 3)
    return tmp_path


def test_every_line_carries_the_hash_of_the_one_before(run: Path) -> None:
    previous = "0" * 64
    for raw in (run / LEDGER).read_bytes().splitlines(keepends=True):
        assert json.loads(raw)["previous"] == previous
        previous = hashlib.sha256(raw).hexdigest()
    assert [line["kind"] for line in lines_of(run)] == ["session", *["step"] * 5, "checkpoint"]
    assert lines_of(run)[-1]["path"] == "checkpoints/step-00000003"
    assert lines_of(run)[-1]["step"] == 3


def test_the_head_is_what_a_reader_finds(run: Path) -> None:
    with Ledger(run) as ledger:
        *_, (_, head) = read_ledger(run / LEDGER)
        assert ledger.head == head
        assert head.lines == 7
        ledger.event("something")
        ledger.sync()
        assert ledger.head.lines == 8
        assert ledger.head.num_bytes == (run / LEDGER).stat().st_size


def test_what_a_session_says(run: Path) -> None:
    first = lines_of(run)[0]
    assert (first["session"], first["step"], first["resumed"], first["changes"]) == (1, 0, None, {})
    assert first["config"] == CONFIG.model_dump(mode="json")
    assert first["hosts"] == {"here": [0]}
    assert first["layout"] == {"pp": 1, "dp": 1, "tp": 1, "world": 1}
    assert first["code"] == code.code_hash()
    other = small_config("train.learning_rate.peak=1e-3", "parallel.pipeline=3").run
    with Ledger(run) as ledger:
        assert ledger.session(other, Progress(), ["a", "b", "a"]) == 2
        assert ledger.session(other, Progress(), ALONE) == 3
    *_, second, third = lines_of(run)
    assert second["hosts"] == {"a": [0, 2], "b": [1]}
    assert second["layout"] == {"pp": 3, "dp": 1, "tp": 1, "world": 3}
    assert second["changes"] == {"train.learning_rate.peak": [3e-3, 1e-3], "parallel.pipeline": [1, 3]}
    assert second["config"]["train"]["learning_rate"]["peak"] == 1e-3
    assert third["changes"] == {}
    assert "config" not in third


def test_what_a_step_says(tmp_path: Path) -> None:
    config = small_config("data.skip=[[2, 10]]").run
    with Ledger(tmp_path) as ledger:
        ledger.session(config, Progress(), ALONE)
        before = Progress()
        after = before.after(4, applied=False)
        ledger.step(before, after, {**RECORD, "loss": math.inf, "grad_norm": None, "other": 1})
        ledger.event("overflow", norm=math.nan, path=tmp_path)
    _, step, event = (
        json.loads(raw, parse_constant=pytest.fail) for raw in (tmp_path / LEDGER).read_text().splitlines()
    )
    assert step["sequences"] == [[0, 1], [10, 11]]
    assert (step["samples"], step["trained"], step["batch_size"], step["applied"]) == (4, 0, 4, False)
    assert (step["loss"], step["grad_norm"], step["loss_scale"], step["alpha"]) == ("inf", None, 65536, 0.1)
    assert "other" not in step
    assert (event["step"], event["fields"]) == (1, {"norm": "nan", "path": str(tmp_path)})


@st.composite
def stretches(draw: st.DrawFn) -> list[tuple[int, int]]:
    bounds = draw(st.lists(st.integers(0, 60), max_size=8).map(sorted))
    return [(first, end) for first, end in zip(bounds[::2], bounds[1::2], strict=False) if first < end]


@given(st.integers(0, 70), st.integers(1, 40), stretches())
def test_numbers_drawn(consumed: int, count: int, skip: list[tuple[int, int]]) -> None:
    found = numbers_drawn(consumed, count, skip)
    numbers = [number for first, last in found for number in range(first, last + 1)]
    assert numbers == [sample_number(consumed + n, skip) for n in range(count)]
    assert all(last + 1 < first for (_, last), (first, _) in pairwise(found))


def test_differences() -> None:
    before = {"a": 1, "b": {"c": [1, 2], "d.e": 3}, "f": {}}
    now = {"a": 1, "b": {"c": [1, 3], "d.e": 3, "g": {"h": 1}}}
    assert differences(before, now) == {"b.c": ([1, 2], [1, 3]), "b.g": (None, {"h": 1}), "f": ({}, None)}


@pytest.mark.parametrize("kept", [1, 100])
def test_a_line_cut_short_is_cut_off(run: Path, kept: int) -> None:
    whole = (run / LEDGER).read_bytes()
    last = whole.splitlines(keepends=True)[-1]
    (run / LEDGER).write_bytes(whole + last[:kept])
    with Ledger(run) as ledger:
        assert ledger.head.num_bytes == len(whole)
        ledger.event("on again")
    assert (run / LEDGER).read_bytes().startswith(whole)
    assert lines_of(run)[-1]["text"] == "on again"


def _edit(lines: list[bytes]) -> None:
    lines[2] = lines[2].replace(b"0.001", b"0.002")


def _drop(lines: list[bytes]) -> None:
    del lines[3]


def _insert(lines: list[bytes]) -> None:
    lines.insert(3, lines[2])


def _garble(lines: list[bytes]) -> None:
    lines[3] = b"\0\0\n"


def _behead(lines: list[bytes]) -> None:
    del lines[0]


CHANGES = [(_edit, 4), (_drop, 4), (_insert, 4), (_garble, 4), (_behead, 1)]


@pytest.mark.parametrize(("change", "number"), CHANGES)
def test_a_change_is_refused_by_its_line(run: Path, change: Any, number: int) -> None:
    lines = (run / LEDGER).read_bytes().splitlines(keepends=True)
    change(lines)
    (run / LEDGER).write_bytes(b"".join(lines))
    with pytest.raises(ModelError, match=rf"ledger.jsonl, line {number}, does not follow"):
        Ledger(run)
    assert (run / LEDGER).read_bytes() == b"".join(lines)


def test_a_checkpoint_holds_the_lines_so_far(run: Path) -> None:
    copy = run / "checkpoints" / "step-00000003"
    assert (run / LEDGER).read_bytes().startswith((copy / LEDGER).read_bytes())
    assert [line["kind"] for line in lines_of(copy)] == ["session", *["step"] * 3]
    with Ledger(run, copy) as ledger:
        ledger.session(CONFIG, Progress(3, 12), ALONE)
        *_, (_, head) = read_ledger(copy / LEDGER)
        assert lines_of(run)[-1]["resumed"] == {
            "checkpoint": "checkpoints/step-00000003",
            "session": 1,
            "lines": 4,
            "sha256": head.sha256,
        }


def test_a_copy_may_be_made_later(run: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """By the thread that writes a checkpoint while training goes on."""
    folder = tmp_path_factory.mktemp("later")
    before = (run / LEDGER).read_bytes()
    with Ledger(run) as ledger:
        head = ledger.head
        ledger.event("more")
        ledger.copy_to(folder, head)
    assert (folder / LEDGER).read_bytes() == before


@pytest.mark.parametrize("num_lines", [None, 0, 2, 4])
def test_lost_lines_come_from_the_checkpoint(run: Path, num_lines: int | None) -> None:
    """The run's file is missing, or lost its end in a power cut."""
    copy = run / "checkpoints" / "step-00000003"
    lines = (run / LEDGER).read_bytes().splitlines(keepends=True)
    if num_lines is None:
        (run / LEDGER).unlink()
    else:
        (run / LEDGER).write_bytes(b"".join(lines[:num_lines]) + b"{torn")
    with Ledger(run, copy) as ledger:
        assert ledger.head.lines == 4
        assert ledger.session(CONFIG, Progress(3, 12), ALONE) == 2
    assert (run / LEDGER).read_bytes().startswith((copy / LEDGER).read_bytes())


def test_a_checkpoint_with_another_past_is_refused(run: Path) -> None:
    copy = run / "checkpoints" / "step-00000003"
    lines = (run / LEDGER).read_bytes().splitlines(keepends=True)
    _edit(lines)
    (run / LEDGER).write_bytes(b"".join(lines))
    with pytest.raises(ModelError, match=r"ledger.jsonl, line 3, is not what .* has on record"):
        Ledger(run, copy)


def test_a_checkpoint_without_a_ledger(tmp_path: Path) -> None:
    """As an earlier version wrote them."""
    checkpoint = tmp_path / "checkpoints" / "step-00000003"
    checkpoint.mkdir(parents=True)
    with Ledger(tmp_path, checkpoint) as ledger:
        assert ledger.session(CONFIG, Progress(3, 12), ALONE) == 1
    (line,) = lines_of(tmp_path)
    assert line["resumed"]["checkpoint"] == "checkpoints/step-00000003"
    assert line["resumed"]["session"] is None


def test_an_error_that_ends_a_session_is_noted(run: Path) -> None:
    with suppress(ZeroDivisionError), Ledger(run) as ledger:
        ledger.session(CONFIG, Progress(), ALONE)
        raise ZeroDivisionError("one half")
    assert lines_of(run)[-1]["text"] == "ZeroDivisionError: one half"
    with suppress(ModelError), Ledger(run) as ledger:
        ledger.session(CONFIG, Progress(), ALONE)
        ledger.end("stopped by SIGTERM")
        raise ModelError("Too late.")
    assert lines_of(run)[-1]["text"] == "stopped by SIGTERM"


def test_two_writers_do_not_spoil_it(run: Path) -> None:
    with Ledger(run) as one, Ledger(run) as two:
        one.event("mine")
        with pytest.raises(ResourceError, match="Something else has written"):
            two.event("mine too")
    assert lines_of(run)[-1]["text"] == "mine"


def test_threads_may_share_it(run: Path) -> None:
    with Ledger(run) as ledger:
        threads = [threading.Thread(target=lambda: [ledger.event("x") for _ in range(50)]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(lines_of(run)) == 7 + 200


def test_the_code_hash_follows_path_and_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code, "_PACKAGE", tmp_path)
    (tmp_path / "room").mkdir()
    found = []
    for name, content in (("a.py", "1"), ("a.py", "2"), ("room/a.py", "2"), ("b.yaml", "2"), ("notes.txt", "2")):
        (tmp_path / name).write_text(content)
        found.append(code.code_hash.__wrapped__())
    assert len(set(found)) == 4
    assert found[-1] == found[-2]


def test_the_commit_is_that_of_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not that of a checkout which an environment merely lies in."""
    monkeypatch.setattr(code, "_PACKAGE", tmp_path)
    for name in ("GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"):
        monkeypatch.setenv(name, "somebody")
    assert code.git_commit() is None
    (tmp_path / "__init__.py").write_text("")
    assert code._git("init", "--quiet") is not None
    assert code._git("commit", "--quiet", "--allow-empty", "--message", "first") is not None
    assert code.git_commit() is None
    code._git("add", "__init__.py")
    code._git("commit", "--quiet", "--message", "second")
    commit = code._git("rev-parse", "HEAD")
    assert code.git_commit() == commit
    (tmp_path / "__init__.py").write_text("changed = True")
    assert code.git_commit() == f"{commit}-dirty"
