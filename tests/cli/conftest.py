"""The command line, run in this process, and one tiny trained run."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import pytest

from glm130b.cli.main import main

RECIPE = """\
extends: tiny
name: test
model: {num_layers: 1, hidden_size: 32, num_heads: 2, ffn_size: 48, max_sequence_length: 64}
data:
  sources: {text: {path: %s}}
  seq_length: 64
  heldout: 20%%
train:
  total: 1k samples
  max_steps: 2
  micro_batch_size: 2
  device: cpu
  batch: {end: 2}
eval: {every_steps: 0, sequences: 2}
"""


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str


def run_glm(*arguments: object, stdin: bytes = b"") -> Result:
    """What ``glm`` with these arguments prints and exits with."""
    out, err = io.StringIO(), io.StringIO()
    words = ["glm", *map(str, arguments)]
    with (
        mock.patch.object(sys, "argv", words),
        mock.patch.object(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin))),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
    return Result(code, out.getvalue(), err.getvalue())


Refused = Callable[..., str]


@pytest.fixture
def glm() -> Callable[..., Result]:
    return run_glm


@pytest.fixture
def refused(tmp_path: Path) -> Refused:
    """Run a command that has to fail; its one sentence on stderr. Nothing half-written may lie about."""

    def run(code: int, *arguments: object, stdin: bytes = b"") -> str:
        result = run_glm(*arguments, stdin=stdin)
        assert result.code == code, result
        lines = result.err.splitlines()
        assert lines[0].startswith("Error: ")
        assert lines[0].endswith(".")
        assert len(lines) == 2, result.err
        assert "Traceback" not in result.err + result.out
        assert not list(tmp_path.rglob(".partial-*"))
        return result.err

    return run


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "text.jsonl"
    records = [{"text": f"Document {n}. " + "A few words, 一些词语。 " * (n % 7 + 3)} for n in range(60)]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


@pytest.fixture(scope="session")
def recipe(corpus: Path) -> Path:
    """A configuration that trains in a moment."""
    path = corpus.with_name("recipe.yaml")
    path.write_text(RECIPE % corpus)
    return path


@pytest.fixture(scope="session")
def trained(recipe: Path) -> Path:
    """A run of two steps; not to be changed."""
    out = recipe.with_name("run")
    result = run_glm("train", recipe, "--out", out)
    assert result.code == 0, result
    return out


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of the run that may be spoilt."""
    return Path(shutil.copytree(trained, tmp_path / "run"))
