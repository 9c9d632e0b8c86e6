"""Files, presets and overrides merged into one tree."""

from __future__ import annotations

from pathlib import Path

import pytest

from glm130b.config import RunConfig, load_config
from glm130b.errors import ConfigError


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def refused(source: str | Path, *overrides: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load_config(source, overrides)
    return caught.value


def test_extends_a_chain_and_remembers_each_line(tmp_path: Path) -> None:
    write(tmp_path / "base.yaml", "extends: tiny\nname: base\nseed: 1\ntrain:\n  max_steps: 5\n  micro_batch_size: 2\n")
    write(tmp_path / "middle.yaml", "extends: base.yaml\nseed: 2\ntrain:\n  max_steps: 6\n")
    last = write(tmp_path / "last.yaml", "# a comment\nextends: middle.yaml\n\ntrain: {max_steps: 7}\n")
    merged = load_config(last)
    train = merged.run.train
    assert (merged.run.name, merged.run.seed, train.max_steps, train.micro_batch_size) == ("base", 2, 7, 2)
    assert merged.run.model == load_config("tiny").run.model
    assert merged.origins["train", "max_steps"] == "last.yaml:4"
    assert merged.origins["seed",] == "middle.yaml:2"
    assert merged.origins["train", "micro_batch_size"] == "base.yaml:6"
    assert merged.origins["model", "hidden_size"].startswith("tiny.yaml:")
    assert ("tensorboard",) not in merged.origins


def test_extends_a_list_in_order(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", "name: a\nseed: 1\n")
    write(tmp_path / "b.yaml", "name: b\ncheckpoint: {keep: 9}\n")
    run = load_config(write(tmp_path / "c.yaml", "extends: [tiny, a.yaml, b.yaml]\n")).run
    assert (run.name, run.seed, run.checkpoint.keep) == ("b", 1, 9)


def test_extends_is_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "shared" / "base.yaml", "extends: tiny\nname: base\n")
    write(tmp_path / "runs" / "mine.yaml", "extends: ../shared/base.yaml\n")
    monkeypatch.chdir("/")
    assert load_config(tmp_path / "runs" / "mine.yaml").run.name == "base"


def test_a_circle_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", "extends: b.yaml\n")
    write(tmp_path / "b.yaml", "extends: a.yaml\n")
    assert "a.yaml extends itself, by way of a.yaml -> b.yaml" in refused(tmp_path / "a.yaml").problem


@pytest.mark.parametrize("value", ["5", "", "yes"])
def test_extends_of_another_kind(tmp_path: Path, value: str) -> None:
    problem = refused(write(tmp_path / "a.yaml", f"name: a\nextends: {value}\n")).problem
    assert "a.yaml:2: extends takes a preset, a file or a list" in problem


def test_a_missing_parent_names_the_line(tmp_path: Path) -> None:
    error = refused(write(tmp_path / "a.yaml", "name: a\nextends: smal\n"))
    assert "a.yaml:2: there is no config file or preset 'smal'" in error.problem
    assert "Did you mean 'small'?" in error.next_step


def test_a_missing_file_lists_the_presets() -> None:
    error = refused("130bb")
    assert "no config file or preset '130bb'" in error.problem
    assert "Did you mean '130b'? Presets are 10b, 130b, 1b, small, tiny." in error.next_step
    assert refused("x" * 5000).exit_code == 3


def test_set() -> None:
    run = load_config(
        "tiny", ["train.max_steps=60", "name=x", "train.learning_rate.warmup=2.5%", " seed = 5", "data.heldout=1%"]
    ).run
    assert (run.train.max_steps, run.name, run.seed, run.data.heldout) == (60, "x", 5, 0.01)
    assert str(run.train.learning_rate.warmup) == "2.5%"
    assert load_config("tiny", ["train.max_steps=60", "train.max_steps="]).run.train.max_steps is None


def test_set_is_the_origin() -> None:
    merged = load_config("tiny", ["train.batch={end: 4, start: 2}"])
    assert merged.origins["train", "batch", "end"] == "--set"


def test_a_mapping_replaces_what_is_below() -> None:
    assert load_config("small").run.train.batch.start == 64
    batch = load_config("small", ["train.batch={end: 4}"]).run.train.batch
    assert (batch.start, batch.end) == (None, 4)


def test_a_mapping_can_be_refined() -> None:
    run = load_config("tiny", ["data.sources={a: {path: x}, b: {path: y}}", "data.sources.a.weight=2"]).run
    assert [(name, source.path, source.weight) for name, source in run.data.active_sources.items()] == [
        ("a", "x", 2.0),
        ("b", "y", 1.0),
    ]


def test_null_takes_an_inherited_source_away(tmp_path: Path) -> None:
    base = write(tmp_path / "a.yaml", "extends: tiny\ndata:\n  sources:\n    a: {path: x}\n    b: {path: y}\n")
    assert list(load_config(base, ["data.sources.a=null"]).run.data.active_sources) == ["b"]
    assert list(load_config(base, ["data.sources.a=null", "data.sources.a.path=z"]).run.data.active_sources) == [
        "b",
        "a",
    ]
    assert "no source is left" in refused(base, "data.sources.a=", "data.sources.b=").problem


@pytest.mark.parametrize("text", ["train.max_steps", "=5", "train..x=5", ".=5", ""])
def test_set_of_another_form(text: str) -> None:
    assert f"--set {text!r} is not of the form a.b=c" in refused("tiny", text).problem


@pytest.mark.parametrize("value", ["[1", "{a: b: c}", "2024-13-45", "!!python/none x"])
def test_set_to_no_yaml(value: str) -> None:
    assert "the value is not valid YAML" in refused("tiny", f"name={value}").problem


def test_equal_trees_are_equal() -> None:
    assert load_config("tiny").run == load_config("tiny", ["seed=1234"]).run
    assert isinstance(load_config("tiny").run, RunConfig)
