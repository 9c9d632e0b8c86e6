"""What is said of a configuration that is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from glm130b.config import load_config
from glm130b.errors import ConfigError


def fault(tmp_path: Path, text: str | bytes, *overrides: str) -> ConfigError:
    path = tmp_path / "c.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError) as caught:
        load_config(path, overrides)
    assert caught.value.exit_code == 3
    assert caught.value.next_step
    return caught.value


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("modle.num_layers=1", "model"),
        ("model.num_layer=1", "model.num_layers"),
        ("train.learning_rate.peek=1", "train.learning_rate.peak"),
        ("train.batch.strat=1", "train.batch.start"),
        ("data.sources.mine.pth=x", "data.sources.mine.path"),
        ("max_steps=5", "train.max_steps"),
        ("train.seq_length=5", "data.seq_length"),
        ("checkpoint.every_step=5", "checkpoint.every_steps"),
        ("eval.every_step=5", "eval.every_steps"),
    ],
)
def test_unknown_keys(tmp_path: Path, written: str, meant: str) -> None:
    error = fault(tmp_path, "extends: tiny\n", written)
    assert error.problem.startswith("--set: unknown key " + written.partition("=")[0].replace(".num_layers", ""))
    assert error.next_step == f"Did you mean {meant}?"


def test_an_unknown_key_without_a_likeness(tmp_path: Path) -> None:
    error = fault(tmp_path, "extends: tiny\nqwxz:\n  y: 1\n")
    assert error.problem == "c.yaml:3: unknown key qwxz."
    assert "Did you mean" not in error.next_step


def test_a_misspelt_section_is_not_called_missing(tmp_path: Path) -> None:
    assert fault(tmp_path, "modle:\n  num_layers: 3\n").problem == "c.yaml:2: unknown key modle."


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("train:\n  micro_batch_size: 0\n", "c.yaml:3: train.micro_batch_size must be greater than 0 (it is 0)"),
        ("model:\n  hidden_dropout: 100%\n", "c.yaml:3: model.hidden_dropout must be less than 1"),
        ("data:\n  heldout: 60%\n", 'c.yaml:3: data.heldout must be less than or equal to 0.5 (it is "60%")'),
        ("train:\n\n  precision: fp64\n", "c.yaml:4: train.precision must be 'fp32', 'bf16' or 'fp16'"),
        ("train:\n  optimizer:\n    betas: [0.9, 2]\n", "c.yaml:4: train.optimizer.betas.1 must be less than 1"),
        ("train:\n  total: 10%\n", "c.yaml:3: train.total: a run's length is given in samples or tokens"),
        ("train:\n  total: 0\n", "c.yaml:3: train.total: a run's length"),
        ("train:\n  total: soon\n", "c.yaml:3: train.total: cannot read 'soon'"),
        ("train:\n  batch:\n    end: yes\n", "c.yaml:4: train.batch.end: expected a number"),
        ("train:\n  optimizer:\n    clip: .inf\n", "c.yaml:4: train.optimizer.clip must be a finite number"),
        ("model: 5\n", "c.yaml:2: model must hold settings of its own (it is 5)"),
        ("train:\n  batch:\n", "c.yaml:3: train.batch must hold settings of its own (it is null)"),
        ("model:\n  num_heads: 5\n", "model: hidden_size 128 must be an even multiple of num_heads 5"),
        ("data:\n  seq_length: 1024\n", "data.seq_length 1024 exceeds model.max_sequence_length 512"),
        ("data:\n  seq_length: 255\n", "data.seq_length 255 must be a multiple of objective.windows_per_sequence 2"),
        ("data:\n  piece_length: 256\n", "piece_length 256 does not fit seq_length 256"),
        ("data:\n  sources:\n    ../x: {path: a}\n", "the source name '../x' has to consist of letters"),
        ("data:\n  sources:\n    a: {weight: 1}\n", "The config lacks data.sources.a.path"),
        ("train:\n  batch: {start: 2, end: 5, increment: 2}\n", "end 5 must be start 2 plus a multiple of increment 2"),
        ("train:\n  learning_rate: {minimum: 1}\n", "initial and minimum must not exceed peak"),
    ],
)
def test_values_out_of_bounds(tmp_path: Path, text: str, problem: str) -> None:
    assert problem in fault(tmp_path, "extends: tiny\n" + text).problem


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("name: a\nname: b\n", "c.yaml:2 has the key name twice"),
        ("model:\n  rope_base: 4\n  num_layers: 5\n  rope_base: 5\n", "c.yaml:4 has the key model.rope_base twice"),
        ("? [a, b]\n: c\n", "c.yaml:1 has a key that is not a plain word"),
        ("- a\n", "does not hold a mapping"),
        ("", "The config lacks model"),
        ("a: [1\n", "is not valid YAML: line 2"),
        ("a:\n\t- b\n", "is not valid YAML: line 2"),
        ("name: a\n---\nname: b\n", "is not valid YAML"),
        ("a: &a\n  b: *a\n", "nested too deeply"),
        ("a: " + "[" * 1000, "nested too deeply"),
        ("name: !!int abc\n", "c.yaml:1: invalid literal for int()"),
        ("name: !!python/object:os.system x\n", "c.yaml:1: line 1: could not determine a constructor"),
        (b"name: \xe9\n", "is not UTF-8 (byte 6)"),
    ],
)
def test_files_that_are_no_configuration(tmp_path: Path, text: str | bytes, problem: str) -> None:
    assert problem in fault(tmp_path, text).problem
