"""``glm runs`` and ``glm config schedule``: questions to a ledger, and the schedules as a table."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from glm130b.config import load_config
from glm130b.training import Ledger, Progress

Glm = Callable[..., Any]
Refused = Callable[..., str]

MESH = ["parallel.data=2", "parallel.tensor=2"]
RECORD = {"learning_rate": 1e-3, "alpha": 0.1, "loss_scale": 65536.0, "grad_norm": None}


def steps(ledger: Ledger, progress: Progress, count: int, loss: float) -> Progress:
    for _ in range(count):
        after = progress.after(8, applied=progress.step != 1)
        ledger.step(progress, after, {**RECORD, "loss": loss})
        progress = after
    return progress


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Four steps, the second of which overflowed; then again from the second, on fewer hosts and more slowly."""
    checkpoint = tmp_path / "checkpoints" / "step-00000002"
    checkpoint.mkdir(parents=True)
    with Ledger(tmp_path) as ledger:
        ledger.session(load_config("tiny", MESH).run, Progress(), ["a", "a", "b", "b"])
        second = steps(ledger, Progress(), 2, loss=9.5)
        ledger.copy_to(checkpoint)
        steps(ledger, second, 2, loss=9.25)
        ledger.end("stopped by SIGTERM")
    with Ledger(tmp_path, checkpoint) as ledger:
        config = load_config("tiny", ["train.learning_rate.peak=5e-4", "data.skip=[[20, 30]]"]).run
        ledger.session(config, second, ["a"])
        steps(ledger, second, 1, loss=9.0)
        ledger.event("the disk is nearly full")
    return tmp_path


def rows(text: str) -> dict[str, list[str]]:
    """Lines by label; those without one belong to the label above."""
    found: dict[str, list[str]] = {}
    label = ""
    for line in text.splitlines():
        label = line[:15].strip() or label
        found.setdefault(label, []).append(line[15:])
    return found


def test_explain(glm: Glm, run: Path) -> None:
    done = glm("runs", "explain", run, "--step", 3)
    assert done.code == 0, done
    found = rows(done.out)
    assert found["step 3"][0].startswith(f"of {run}, session 2, ")
    assert found["applied"] == ["yes"]
    assert found["sequences"] == ["16 to 19 and 30 to 33"]
    assert found["samples"] == ["24 drawn and 16 trained on after it"]
    assert (found["loss"], found["learning rate"], found["batch size"]) == (["9"], ["0.001"], ["8 sequences"])
    assert (found["gradient norm"], found["loss scale"]) == (["not finite"], ["65536"])
    assert (found["layout"], found["hosts"]) == (["1 process"], ["a (rank 0)"])
    newest, *changes, oldest = found["lineage"]
    assert newest.endswith("from checkpoints/step-00000002 of session 1")
    assert changes == [
        "  data.skip: [] -> [[20, 30]]",
        "  train.learning_rate.peak: 0.001 -> 0.0005",
        "  parallel.tensor: 2 -> 1",
        "  parallel.data: 2 -> 1",
    ]
    assert oldest.startswith("session 1")
    assert oldest.endswith("from nothing")
    assert "loss 9.25, learning rate 0.001, sequences 16 to 23" in found["given up"][0]
    assert found["events"] == ["the disk is nearly full"]


def test_explain_other_steps(glm: Glm, run: Path) -> None:
    second = rows(glm("runs", "explain", run, "--step", 2).out)
    assert second["applied"] == ["no: the gradients overflowed"]
    assert second["layout"] == ["pp 1 x dp 2 x tp 2, 4 ranks"]
    assert second["hosts"] == ["a (ranks 0-1), b (ranks 2-3)"]
    assert "given up" not in second
    fourth = rows(glm("runs", "explain", run, "--step", 4).out)
    assert fourth["step 4"][1] == "given up: the run went back to a checkpoint before it"


def test_explain_prints_the_configuration(glm: Glm, run: Path) -> None:
    text = glm("runs", "explain", run, "--step", 3, "--config").out.split("\n\n")[1]
    assert yaml.safe_load(text)["train"]["learning_rate"]["peak"] == 5e-4


def test_explain_for_machines(glm: Glm, run: Path) -> None:
    found = json.loads(glm("runs", "explain", run, "--step", 3, "--json").out)
    assert (found["session"], found["loss"], found["stands"]) == (2, 9.0, True)
    assert found["config"]["data"]["skip"] == [[20, 30]]
    assert [session["session"] for session in found["lineage"]] == [2, 1]
    assert found["lineage"][0]["resumed"]["lines"] == 3
    assert found["lineage"][1]["hosts"] == {"a": [0, 1], "b": [2, 3]}
    assert [line["loss"] for line in found["given_up"]] == [9.25]
    assert [event["text"] for event in found["events"]] == ["the disk is nearly full"]


def test_many_hosts_are_not_listed(glm: Glm, tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        hosts = [f"node{rank // 8:03}" for rank in range(768)]
        ledger.session(load_config("130b").run, Progress(), hosts)
        steps(ledger, Progress(), 1, loss=12.0)
    (line,) = rows(glm("runs", "explain", tmp_path, "--step", 1).out)["hosts"]
    assert line.startswith("node000 (ranks 0-7), node001 (ranks 8-15), ")
    assert line.endswith("and 93 more (--json names them)")


def test_sessions(glm: Glm, run: Path) -> None:
    done = glm("runs", "sessions", run)
    assert done.code == 0, done
    header, first, second = (line.split("  ") for line in done.out.splitlines())
    assert header[0] == "session"
    cells = [[cell.strip() for cell in line if cell] for line in (first, second)]
    assert cells[0][-4:] == ["1 to 4", "pp 1 x dp 2 x tp 2, 4 ranks", "a and 1 more", "stopped by SIGTERM"]
    assert cells[1][-4:] == ["3 to 3", "1 process", "a", "no word: killed, or still running"]
    found = json.loads(glm("runs", "sessions", run, "--json").out)
    assert [(it["session"], it["step"], it["last_step"]) for it in found] == [(1, 0, 4), (2, 2, 3)]


def test_what_cannot_be_answered(refused: Refused, run: Path, tmp_path: Path) -> None:
    assert "goes from 1 to 4" in refused(5, "runs", "explain", run, "--step", 5)
    assert "has no ledger.jsonl" in refused(5, "runs", "explain", tmp_path / "elsewhere", "--step", 1)
    assert "has no ledger.jsonl" in refused(5, "runs", "sessions", tmp_path / "elsewhere")
    text = (run / "ledger.jsonl").read_text()
    (run / "ledger.jsonl").write_text(text.replace('"loss": 9.25', '"loss": 9.24', 1))
    assert "line 5, does not follow" in refused(5, "runs", "explain", run, "--step", 1)


def test_config_schedule(glm: Glm, refused: Refused) -> None:
    done = glm("config", "schedule", "130b")
    assert done.code == 0, done
    assert "batch ramp ends, 4,296 steps" in done.out
    changes = "train.embedding_gradient_shrink.changes=[{at: 9, over: 5, to: 1}, {at: 10, to: 0.1}]"
    assert "changes.1.at" in refused(3, "config", "schedule", "130b", "--set", changes)
