"""How a step came about, over sessions that were killed, went back and were given up."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from pathlib import Path

import pytest
from support import small_config
from test_run_ledger import ALONE, CONFIG, write_steps

from glm130b.errors import ModelError
from glm130b.training.ledger import Ledger
from glm130b.training.ledger_lines import LEDGER, read_ledger
from glm130b.training.lineage import explain, explain_lines, read_sessions
from glm130b.training.progress import Progress

SLOWER = small_config("train.learning_rate.peak=1e-3").run


def save(ledger: Ledger, run: Path, step: int) -> Path:
    path = run / "checkpoints" / f"step-{step:08d}"
    path.mkdir(parents=True)
    ledger.copy_to(path)
    ledger.checkpoint(path, step)
    return path


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Session 1: 1 to 6, killed; 2, from 4, slower: 5 to 7, error; 3, from 4 again: 5 to 6."""
    with Ledger(tmp_path) as ledger:
        ledger.session(CONFIG, Progress(), ALONE)
        fourth = write_steps(ledger, Progress(), 4)
        checkpoint = save(ledger, tmp_path, 4)
        write_steps(ledger, fourth, 2)
    with suppress(ModelError), Ledger(tmp_path, checkpoint) as ledger:
        ledger.session(SLOWER, fourth, ALONE)
        fifth = write_steps(ledger, fourth, 1)
        save(ledger, tmp_path, 5)
        write_steps(ledger, fifth, 1, applied=False)
        ledger.event("loss scale at its floor")
        write_steps(ledger, fifth.after(4, applied=False), 1)
        raise ModelError("Step 8 gave loss nan.")
    with Ledger(tmp_path, checkpoint) as ledger:
        ledger.session(SLOWER, fourth, ["a", "b"])
        write_steps(ledger, fourth, 2)
    return tmp_path


def test_the_sessions(run: Path) -> None:
    sessions = read_sessions(run)
    assert [(it.number, it.begun_after, it.last_step, it.parent) for it in sessions] == [
        (1, 0, 6, None),
        (2, 4, 7, 1),
        (3, 4, 6, 1),
    ]
    assert [it.ended for it in sessions] == [None, "Step 8 gave loss nan.", None]
    assert ["config" in it.line for it in sessions] == [True, True, False]
    assert [it.changes for it in sessions] == [{}, *[{"train.learning_rate.peak": (3e-3, 1e-3)}] * 2]


@pytest.mark.parametrize(
    ("step", "session", "lineage", "abandoned"),
    [(1, 1, [1], []), (4, 1, [1], []), (5, 3, [3, 1], [1, 2]), (6, 3, [3, 1], [1, 2])],
)
def test_who_took_a_step(run: Path, step: int, session: int, lineage: list[int], abandoned: list[int]) -> None:
    found = explain(run, step)
    assert found.stands
    assert found.session.number == found.line["session"] == session
    assert found.line["step"] == step
    assert [it.number for it in found.lineage] == lineage
    assert [(it.number, line["session"], line["step"]) for it, line in found.abandoned] == [
        (number, number, step) for number in abandoned
    ]


def test_what_held_at_a_step(run: Path) -> None:
    assert explain(run, 4).session.config == CONFIG.model_dump(mode="json")
    found = explain(run, 6)
    assert found.session.config == SLOWER.model_dump(mode="json")  # in force since session 2, whose line holds it
    assert found.session.line["hosts"] == {"a": [0], "b": [1]}
    assert found.line["sequences"] == [[20, 23]]
    assert found.events == ()
    (_, first), (_, second) = found.abandoned
    assert (first["applied"], second["applied"]) == (True, False)


def test_a_session_lasts_from_its_first_line_to_its_last(run: Path) -> None:
    times = [(line["session"], line["time"]) for line, _ in read_ledger(run / LEDGER)]
    for session in read_sessions(run):
        own = [datetime.fromisoformat(time) for number, time in times if number == session.number]
        assert session.last_time == own[-1]
        assert session.seconds == (own[-1] - own[0]).total_seconds()


def test_a_step_given_up(run: Path) -> None:
    """The newest state is after step 6; only session 2 ever took step 7."""
    found = explain(run, 7)
    assert not found.stands
    assert [it.number for it in found.lineage] == [2, 1]
    assert found.abandoned == ()


def test_events_belong_to_the_step_before_them(run: Path) -> None:
    with Ledger(run, run / "checkpoints" / "step-00000005") as ledger:
        ledger.session(SLOWER, Progress(5, 20), ALONE)
    assert [it.number for it in explain(run, 5).lineage] == [2, 1]
    found = explain(run, 6)
    assert not found.stands  # session 4 has not come there yet
    assert found.session.number == 3
    lines = [line for line, _ in read_ledger(run / LEDGER) if line["session"] < 3]
    assert [event["text"] for event in explain_lines(lines, 6).events] == ["loss scale at its floor"]


def test_a_start_from_nothing_gives_everything_up(run: Path) -> None:
    with Ledger(run) as ledger:
        ledger.session(CONFIG, Progress(), ALONE)
        write_steps(ledger, Progress(), 1)
    found = explain(run, 1)
    assert [it.number for it in found.lineage] == [4]
    assert [it.number for it, _ in found.abandoned] == [1]
    assert not explain(run, 2).stands


def test_why_a_session_ended_may_be_found_out_later(run: Path) -> None:
    with Ledger(run) as ledger:
        ledger.end("rank 3 was killed by SIGKILL")
    assert read_sessions(run)[-1].ended == "rank 3 was killed by SIGKILL"
    with Ledger(run / "other") as ledger:
        ledger.end("before any session")
    assert read_sessions(run / "other") == []


def test_what_is_not_there(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="goes from 1 to 7"):
        explain(run, 8)
    with pytest.raises(ModelError, match=r"has no ledger\.jsonl"):
        explain(tmp_path / "elsewhere", 1)
    checkpoint = run / "old"
    checkpoint.mkdir()
    with Ledger(run / "later", checkpoint) as ledger:
        ledger.session(CONFIG, Progress(9, 36), ALONE)
        with pytest.raises(ModelError, match="none yet"):
            explain(run / "later", 10)
        write_steps(ledger, Progress(9, 36), 1)
    with pytest.raises(ModelError, match="goes from 10 to 10"):
        explain(run / "later", 9)
    assert explain(run / "later", 10).lineage[-1].parent is None
