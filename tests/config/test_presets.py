"""The presets, and what the paper fixes of the largest."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from glm130b.config import load_config, preset_names
from glm130b.planning import parameter_count
from glm130b.training import Schedule

PRESETS = Path(__file__).parents[2] / "src" / "glm130b" / "configs"

PAPER: dict[str, Any] = {
    "model.num_layers": 70,
    "model.hidden_size": 12288,
    "model.num_heads": 96,
    "model.ffn_size": 32768,
    "model.vocab_size": 150528,
    "model.max_sequence_length": 2048,
    "model.layernorm_epsilon": 1e-5,
    "model.hidden_dropout": 0.1,
    "model.attention_dropout": 0.1,
    "data.seq_length": 2048,
    "data.piece_length": 2000,
    "objective.mask_share": 0.3,
    "objective.instruction_share": 0.05,
    "objective.windows_per_sequence": 4,
    "objective.mask_ratio": 0.15,
    "objective.average_span_length": 3,
    "objective.short_window_probability": 0.02,
    "objective.single_span_probability": 0.02,
    "objective.min_gmask_ratio": 0.2,
    "train.micro_batch_size": 1,
    "train.precision": "fp16",
    "train.recompute": "full",
    "train.optimizer.betas": [0.9, 0.95],
    "train.optimizer.epsilon": 1e-8,
    "train.optimizer.weight_decay": 0.1,
    "train.optimizer.clip": 1.0,
    "train.learning_rate.peak": 8e-5,
    "train.learning_rate.initial": 1e-7,
    "train.learning_rate.minimum": 8e-6,
    "train.batch.start": 192,
    "train.batch.end": 4224,
    "train.batch.increment": 24,
    "train.embedding_gradient_shrink.alpha": 0.1,
    "train.loss_scale.initial": 65536,
    "train.loss_scale.window": 2000,
    "train.loss_scale.hysteresis": 2,
    "train.loss_scale.floor": 1,
    "parallel.tensor": 4,
    "parallel.pipeline": 8,
    "parallel.data": 24,
    "parallel.zero_stage": 1,
}


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_loads_under_its_name(name: str) -> None:
    assert load_config(name).run.name == name


def test_presets_are_those_documented() -> None:
    assert preset_names() == ["10b", "130b", "1b", "small", "tiny"]


@pytest.mark.parametrize("key", PAPER)
def test_130b_is_the_papers(key: str) -> None:
    value: Any = load_config("130b").tree()
    for name in key.split("."):
        value = value[name]
    assert value == PAPER[key]


def test_130b_schedules_in_samples() -> None:
    run = load_config("130b").run
    schedule = Schedule.of(run)
    assert (schedule.warmup, schedule.batch_ramp, schedule.decay) == (1_098_632, 5_493_164, 197_753_905)
    assert schedule.total == pytest.approx(219.73e6, rel=1e-4)
    assert (run.model.head_size, run.model.deepnorm_alpha**2) == (128, pytest.approx(140))
    assert run.parallel.tensor * run.parallel.pipeline * run.parallel.data == 96 * 8


def test_every_value_of_130b_names_its_source() -> None:
    for line in (PRESETS / "130b.yaml").read_text(encoding="utf-8").splitlines():
        if re.match(r"\s*\w+: *[^# ]", line) and not line.startswith("name:"):
            assert re.search(r"# .*(table|section \d\.\d|code|authors)", line), line


def test_parameter_counts() -> None:
    counts = {name: parameter_count(load_config(name).run.model) for name in preset_names()}
    assert counts["130b"] == 128_697_794_560
    assert counts["small"] == pytest.approx(100e6, rel=0.05)
    assert counts["1b"] == pytest.approx(1e9, rel=0.05)
    assert counts["10b"] == pytest.approx(10e9, rel=0.05)
    assert counts["tiny"] == pytest.approx(2.9e6, rel=0.05)


def test_130b_by_the_papers_formula() -> None:
    """70 (4 d^2 + 3 d 32768) + 150528 d, plus biases and norms."""
    d = 12288
    matrices = 70 * (4 * d * d + 3 * d * 32768) + 150528 * d
    biases_and_norms = 70 * (3 * d + d + 2 * 32768 + d + 4 * d) + 2 * d
    assert parameter_count(load_config("130b").run.model) == matrices + biases_and_norms
