from __future__ import annotations

import re
import shlex
import signal
from pathlib import Path

import pytest
import torch
from rich.console import Console
from typer.testing import CliRunner

from glm130b.cli.main import app
from glm130b.config import load_config
from glm130b.demo import run_demo
from glm130b.demo.live import LiveTraining, clock, spark
from glm130b.demo.pace import FEWEST_STEPS, MOST_SAMPLES, Probe, plan, planned
from glm130b.demo.show import percent, signed
from glm130b.errors import DataError
from glm130b.interop import load
from glm130b.model import build_model
from glm130b.training import Progress, Schedule
from glm130b.training.metrics import read_metrics

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    out = tmp_path_factory.mktemp("demo") / "run"
    result = CliRunner().invoke(app, ["demo", "--out", str(out), "--minutes", "0.02"])
    assert result.exit_code == 0, result.output
    return out, result.output


@pytest.mark.slow
def test_the_run_folder_is_an_ordinary_one(demo: tuple[Path, str]) -> None:
    out, _ = demo
    records = read_metrics(out / "metrics.jsonl")
    assert len(records) >= FEWEST_STEPS
    assert load_config(out / "config.yaml").run.name == "demo"
    model, tokenizer = load(out)
    assert model.config.vocab_size >= tokenizer.vocab_size


@pytest.mark.slow
def test_the_quantised_copies_load(demo: tuple[Path, str]) -> None:
    out, _ = demo
    for bits in (8, 4):
        model, _ = load(out / f"int{bits}")
        dtypes = {tensor.dtype for tensor in model.state_dict().values()}
        assert torch.int8 in dtypes or torch.uint8 in dtypes


@pytest.mark.slow
def test_the_report_needs_nothing_but_itself(demo: tuple[Path, str]) -> None:
    out, _ = demo
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "://" not in page
    assert "<script" not in page
    assert not re.search(r"<(link|img|iframe)|@import|url\(|\ssrc=", page)
    assert page.count("<svg") == 2
    assert "INT4" in page
    assert "违反本法规定" in page


@pytest.mark.slow
def test_what_it_prints_is_what_was_measured(demo: tuple[Path, str]) -> None:
    out, text = demo
    last = read_metrics(out / "metrics.jsonl")[-1]
    for number in "12345":
        assert re.search(rf"^{number}  \w", text, re.MULTILINE)
    assert f"step {last['step']:>5}" in text
    assert f"{last['loss']:.3f}" in text
    assert str(out / "report.html") in text


@pytest.mark.slow
def test_the_next_commands_work(demo: tuple[Path, str]) -> None:
    out, text = demo
    commands = [line for line in text.split("next\n")[1].splitlines() if line.strip()]
    assert len(commands) == 3
    fill, generate, train = (re.split(r"\bglm130b |\bglm ", line, maxsplit=1)[1] for line in commands)
    for command in (fill, generate, train + f" --set train.max_steps={FEWEST_STEPS // 5}"):
        result = CliRunner().invoke(app, shlex.split(command))
        assert result.exit_code == 0, result.output
    assert (out.with_name("run-longer") / "checkpoints").is_dir()


@pytest.mark.slow
def test_a_second_demo_does_not_touch_the_first(demo: tuple[Path, str]) -> None:
    with pytest.raises(DataError, match="not empty") as caught:
        run_demo(demo[0], 0.02)
    assert "--out" in caught.value.next_step


@pytest.mark.slow
def test_a_stopped_demo_says_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = LiveTraining.step

    def interrupt(self: LiveTraining, record: dict[str, object]) -> None:
        shown(self, record)
        if record["step"] == 2:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(LiveTraining, "step", interrupt)
    result = CliRunner().invoke(app, ["demo", "--out", str(tmp_path / "run"), "--minutes", "0.02"])
    assert result.exit_code == 128 + signal.SIGTERM
    assert "Stopped after step 2" in result.output
    command = result.output.splitlines()[-1]
    assert f"train {tmp_path / 'run' / 'config.yaml'} --out {tmp_path / 'run'}" in command
    assert not (tmp_path / "run" / "report.html").exists()


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("mine")
    with pytest.raises(DataError, match="not empty"):
        run_demo(tmp_path / "run", 0.02)
    assert (tmp_path / "run").read_text() == "mine"


@pytest.mark.slow
@pytest.mark.parametrize("step_seconds", [1e-6, 0.01, 0.5, 1e6])
@pytest.mark.parametrize("heldout_seconds", [0.001, 2.0, 60.0])
def test_the_plan_fits_the_time(step_seconds: float, heldout_seconds: float) -> None:
    found = Probe({}, heldout_seconds, 3, step_seconds, 3 * step_seconds)
    run = planned(plan(found, 120.0)).run
    schedule = Schedule.of(run)
    batches = [batch for _, batch in schedule.steps()]
    assert len(batches) >= FEWEST_STEPS
    assert sum(batches) <= MOST_SAMPLES
    evaluations = -(-len(batches) // run.eval.every_steps) if run.eval.every_steps else 0
    if FEWEST_STEPS * schedule.batch_end < sum(batches) < MOST_SAMPLES:
        training = sum(found.step_seconds(batch, schedule) for batch in batches)
        assert training + evaluations * heldout_seconds == pytest.approx(120.0, rel=0.05)


def test_a_run_that_takes_too_long_is_asked_to_stop() -> None:
    live = LiveTraining(Console(file=None, quiet=True), 9.7, seconds=-10.0)
    config = planned([]).run
    live.begin(build_model(config.model, seed=1), Schedule.of(config), Progress())
    caught: list[int] = []
    previous = signal.signal(signal.SIGTERM, lambda number, _frame: caught.append(number))
    try:
        for step in range(1, FEWEST_STEPS + 2):
            live.step(
                {
                    "step": step,
                    "samples": step,
                    "loss": 9.0,
                    "embedding_grad_norm": 0.1,
                    "tokens_per_second": 1.0,
                    "seconds": 1.0,
                }
            )
    finally:
        signal.signal(signal.SIGTERM, previous)
    assert live.out_of_time
    assert caught == [signal.SIGTERM]


def test_small_things() -> None:
    assert spark([1.0], 10).plain == "▁"
    assert spark([0.0, 1.0, 2.0, 3.0], 2).plain == "▁█"
    assert len(spark(list(map(float, range(1000))), 40).plain) == 40
    assert clock(0.2) == "0:00"
    assert clock(119.7) == "2:00"
    assert percent(0.12345) == "12%"
    assert percent(1 / 16384) == "0.0061%"
    assert percent(0.999) == "100%"
    assert signed(-1e-9) == "+0.0000"
    assert signed(-0.25) == "-0.2500"
