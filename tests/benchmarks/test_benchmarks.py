"""The benchmarks' own arithmetic, and that every script runs; what they measure is no matter of tests."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glm130b.config import ParallelConfig
from glm130b.planning import bubble_share

SCRIPTS = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(SCRIPTS))
accounts, pipeline = importlib.import_module("accounts"), importlib.import_module("pipeline")
sys.path.remove(str(SCRIPTS))


def one_forward_one_backward(ranks: int, count: int) -> list[list[tuple[int, str]]]:
    """Actions of 1F1B as the textbook has them."""
    actions = []
    for rank in range(ranks):
        ahead = min(count, ranks - 1 - rank)
        pairs = [(rank, kind) for _ in range(count - ahead) for kind in "FB"]
        actions.append([(rank, "F")] * ahead + pairs + [(rank, "B")] * ahead)
    return actions


@given(st.integers(2, 6), st.integers(0, 20))
def test_playing_a_schedule_through_gives_the_formula(ranks: int, more: int) -> None:
    expected = bubble_share(ParallelConfig(pipeline=ranks), ranks + more)
    assert pipeline.play(one_forward_one_backward(ranks, ranks + more)) == pytest.approx(expected)


def test_weight_gradients_fill_the_bubble() -> None:
    """Two ranks, two micro-batches, played by hand; of the first stage W is the whole backward pass."""
    first = [(0, "F"), (0, "F"), (0, "I"), (0, "W"), (0, "I"), (0, "W")]
    second = [(1, "F"), (1, "I"), (1, "F"), (1, "I"), (1, "W"), (1, "W")]
    # Rank 0 works 0-2, waits for the first I of rank 1 until 3, works 3-7; rank 1 works 1-7.
    assert pipeline.play([first, second]) == pytest.approx(1 - 12 / 14)


def test_actions_that_wait_for_one_another_are_refused() -> None:
    with pytest.raises(ValueError, match="wait for one another"):
        pipeline.play([[(0, "B"), (0, "F")], [(1, "F"), (1, "B")]])


def test_time_runs_on_one_account() -> None:
    time_of = accounts.Accounts()
    time_of.beat("forward-backward", 1)
    time.sleep(0.01)
    with time_of.running("communication"):
        time.sleep(0.02)
    time_of.beat("optimizer", 1)
    found = time_of.take()
    assert found["computation"] >= 0.01
    assert found["communication"] >= 0.02
    assert time_of.take().keys() == {"optimizer"}


def test_communication_counts_where_nothing_is_computed() -> None:
    kernels = [
        ("gemm", 0.0, 2.0),
        ("gemm", 1.0, 3.0),
        ("ncclDevKernel_ReduceScatter_Sum_f32", 2.0, 4.0),
        ("ncclDevKernel_SendRecv", 3.5, 6.0),
        ("gemm", 5.0, 5.5),
    ]
    assert accounts.exposed(kernels) == pytest.approx({"communication": 1.0, "bubble": 1.5})


def run(script: str, *options: str) -> str:
    command = [sys.executable, SCRIPTS / f"{script}.py", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("script", ["convert", "loader"])
def test_a_script_says_what_it_does(script: str) -> None:
    about = ast.get_docstring(ast.parse((SCRIPTS / f"{script}.py").read_text(encoding="utf-8"))) or ""
    assert " ".join(about.split()[:4]) in run(script, "--help")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "options", "said"),
    [
        ("pipeline", [], "| zero_bubble | 4 | 0.0400 | 0.0400 |"),
        ("checkpoint", [], "step time with checkpoints"),
        ("overhead", [], "overhead by the processor"),
        ("evaluate", [], "times as fast"),
        ("train", ["--set", "parallel.pipeline=2"], "pipeline 2 x data 1 x tensor 1"),
        ("train", ["--against-cpu", "--precision", "fp32", "bf16"], "bf16 on "),
    ],
)
def test_a_dry_run_goes_through(script: str, options: list[Any], said: str) -> None:
    assert said in run(script, "--dry-run", *options)
