"""A described configuration is a configuration."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from glm130b.config import load_config, preset_names

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
sources = st.dictionaries(
    st.from_regex(r"[\w][\w-]{0,8}", fullmatch=True),
    st.one_of(
        st.none(), st.fixed_dictionaries({"path": words}, optional={"weight": st.floats(0, 9, exclude_min=True)})
    ),
    max_size=3,
).map(lambda found: {"mine": {"path": "x"}, **found})

VALUES: dict[str, st.SearchStrategy[Any]] = {
    "name": words,
    "seed": st.integers(0, 2**63),
    "tensorboard": st.booleans(),
    "model.layernorm_epsilon": st.floats(0, 1, exclude_min=True),
    "model.rope_frequencies": st.sampled_from(["fp32", "fp16"]),
    "model.hidden_dropout": st.one_of(st.floats(0, 0.99), st.integers(0, 99).map(lambda n: f"{n}%")),
    "data.sources": sources,
    "data.tokenizer": words,
    "data.heldout": st.floats(0, 0.5),
    "train.device": words,
    "train.total": st.builds("{} {}".format, st.integers(1, 10**15), st.sampled_from(["samples", "tokens"])),
    "train.max_steps": st.one_of(st.none(), st.integers(1, 10**9)),
    "train.learning_rate.warmup": st.floats(0, 100, exclude_max=True).map(lambda share: f"{share:f}%"),
    "train.learning_rate.decay": st.floats(0, 1e12),
    "train.optimizer.betas": st.tuples(st.floats(0, 0.99), st.floats(0, 0.99)).map(list),
    "train.batch": st.fixed_dictionaries({"end": st.integers(1, 10**6)}),
}


@st.composite
def overrides(draw: st.DrawFn) -> list[str]:
    keys = draw(st.lists(st.sampled_from(sorted(VALUES)), unique=True))
    return [f"{key}={as_yaml(draw(VALUES[key]))}" for key in keys]


def as_yaml(value: Any) -> str:
    style = '"' if isinstance(value, str) else None
    return yaml.safe_dump(value, default_flow_style=True, default_style=style, width=10**9)


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(st.sampled_from(preset_names()), overrides())
def test_described_and_read_again(preset: str, texts: list[str]) -> None:
    merged = load_config(preset, texts)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "again.yaml"
        path.write_text(merged.describe(), encoding="utf-8")
        again = load_config(path)
    assert again.run == merged.run
    assert again.tree() == merged.tree()


def test_every_value_has_its_origin() -> None:
    lines = load_config("tiny", ["train.max_steps=60"]).describe().splitlines()
    leaves = [line for line in lines if not line.endswith(":")]
    assert all(re.search(r"  # (default|--set|tiny\.yaml:\d+)$", line) for line in leaves)
    assert sum("# default" in line for line in leaves) > 20
    (changed,) = [line for line in leaves if line.endswith("# --set")]
    assert changed.split("#")[0].strip() == "max_steps: 60"


def test_the_named_line_holds_the_value() -> None:
    preset = Path(__file__).parents[2] / "src" / "glm130b" / "configs" / "130b.yaml"
    written = preset.read_text(encoding="utf-8").splitlines()
    named = re.findall(r"(\w+): .*# 130b\.yaml:(\d+)", load_config("130b").describe())
    assert len(named) > 50
    assert all(written[int(line) - 1].strip().startswith(f"{key}:") for key, line in named)


@pytest.mark.parametrize("text", ["a\nb", "é\x85b", "# x", "x...", "null", "1", ""])
def test_awkward_names(tmp_path: Path, text: str) -> None:
    described = tmp_path / "c.yaml"
    described.write_text(load_config("tiny", [f"name={as_yaml(text)}"]).describe(), encoding="utf-8")
    assert load_config(described).run.name == text
