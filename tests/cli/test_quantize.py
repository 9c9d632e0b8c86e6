"""``glm quantize``: what it writes, and what it says was lost."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from glm130b.corpus import write_shard
from glm130b.interop import load_model, open_model
from glm130b.model import Scheme
from glm130b.quantization import dequantize

pytestmark = pytest.mark.slow

Glm = Callable[..., Any]
Refused = Callable[..., str]

LINEARS = ["attention.query_key_value", "attention.dense", "mlp.dense_h_to_4h", "mlp.dense_4h_to_h"]


@pytest.mark.parametrize("bits", [8, 4])
def test_a_quantised_copy_answers_as_the_model_quantised_while_loading(
    glm: Glm, trained: Path, tmp_path: Path, bits: int
) -> None:
    done = glm("quantize", trained, tmp_path / "small", "--bits", bits, "--no-heldout")
    assert done.code == 0, done
    what = f"INT{bits} by rows, embedding and norms FP32"
    assert re.match(rf"Wrote {tmp_path}/small: {what}; [\d.]+ MB of weights, from [\d.]+ MB\.\n", done.out)
    options = ("--max-new-tokens", 2, "--model")
    stored = glm("fill", "A [MASK]", *options, tmp_path / "small")
    assert stored.code == 0
    assert stored.out == glm("fill", "A [MASK]", *options, trained, "--bits", bits).out


def test_the_errors_of_every_matrix_and_kind(glm: Glm, trained: Path, tmp_path: Path) -> None:
    file = tmp_path / "errors.json"
    done = glm("quantize", trained, tmp_path / "small", "--bits", 4, "--output-bits", 8, "--errors", file)
    assert done.code == 0, done
    content = json.loads(file.read_text())
    assert content["precision"] == "INT4 by rows, output INT8, embedding and norms FP32"
    model, small = load_model(trained), load_model(tmp_path / "small")
    assert len(content["matrices"]) == 5
    for name, found in content["matrices"].items():
        exact = (model.word_embeddings.weight if name == "output.weight" else model.state_dict()[name]).double()
        weights = small.state_dict()
        expanded = dequantize(weights[name], weights[f"{name}_scale"], 8 if name == "output.weight" else 4).double()
        by_row = (expanded - exact).norm(dim=1) / exact.norm(dim=1)
        assert found["relative"] == pytest.approx(float((expanded - exact).norm() / exact.norm()), rel=1e-5)
        assert found["worst_row"] == pytest.approx(float(by_row.max()), rel=1e-5)
        assert found["row"] == int(by_row.argmax())
        kind = name.removeprefix("layers.0.").removesuffix(".weight")
        number, row = f"{found['relative']:.4f}", f"{found['worst_row']:.4f}"
        assert re.search(rf"^  {kind} +1  {number}  {number} +{row} +{name.removesuffix('.weight')}$", done.out, re.M)


def test_the_loss_before_and_after(glm: Glm, trained: Path, tmp_path: Path) -> None:
    """A run is measured on its own text, any other model on that of a run that is named; the numbers are the same, and
    those of ``glm eval heldout``."""
    own = glm("quantize", trained, tmp_path / "a", "--bits", 4, "--errors", tmp_path / "errors.json")
    assert own.code == 0, own
    (checkpoint,) = (trained / "checkpoints").iterdir()
    other = glm("quantize", checkpoint, tmp_path / "b", "--bits", 4, "--heldout", trained)
    assert own.out.splitlines()[1:] == other.out.splitlines()[1:]
    found = json.loads((tmp_path / "errors.json").read_text())["heldout"]
    for model, key in ((trained, "before"), (tmp_path / "a", "after")):
        for line in glm("eval", "heldout", trained, "--model", model).out.splitlines():
            name, loss = line.split()
            assert f"{found[name][key]:.4f}" == loss
    for name in ("text/mask", "text/gmask", "all"):
        change, (low, high) = found[name]["change"], found[name]["interval"]
        assert change == pytest.approx(found[name]["after"] - found[name]["before"], abs=1e-6)
        assert low <= change <= high
        assert re.search(rf"^  {name} .*  \{change:+.5f}  \{low:+.5f} to \{high:+.5f}$", own.out, re.M), own.out
    assert found["all"]["sequences"] == found["text/mask"]["sequences"] + found["text/gmask"]["sequences"]
    assert "held-out loss" not in glm("quantize", checkpoint, tmp_path / "c").out
    assert "held-out loss" not in glm("quantize", trained, tmp_path / "d", "--no-heldout").out


def test_a_run_without_held_out_text(glm: Glm, run: Path, tmp_path: Path) -> None:
    write_shard(run / "data" / "text" / "heldout", [], 16384)
    done = glm("quantize", run, tmp_path / "a", "--errors", tmp_path / "e.json")
    assert done.code == 0, done
    assert f"No loss was measured: {run} holds nothing out." in done.out
    assert json.loads((tmp_path / "e.json").read_text())["heldout"] is None
    shutil.rmtree(run / "data")
    done = glm("quantize", run, tmp_path / "b")
    assert done.code == 0, done
    assert "loss" not in done.out


def test_groups(glm: Glm, refused: Refused, trained: Path, tmp_path: Path) -> None:
    """The tiny run's 32 and 48 columns have no groups in common but whole rows."""
    out = tmp_path / "out"
    assert "48 columns do not divide into groups of 32" in refused(5, "quantize", trained, out, "--group", 32)
    assert glm("quantize", trained, out, "--group", "row", "--no-heldout").code == 0
    assert open_model(out).scheme == Scheme(8)
    seen = glm("inspect", out)
    assert "precision       INT8 by rows, embedding and norms FP32\n" in seen.out
    assert glm("quantize", trained, tmp_path / "x", "--group", 17).code == 2
    done = glm("convert", trained, tmp_path / "y", "--to", "folder", "--bits", 4, "--output-bits", 4)
    assert done.out.startswith(f"Wrote {tmp_path / 'y'}: model folder, INT4 by rows, output INT4, embedding")
    assert "no place for scales" in refused(3, "convert", trained, out, "--to", "sat", "--bits", 4, "--group", 64)
    losses = {
        glm("eval", "heldout", trained, "--bits", 4, "--group", "row").out,
        glm("eval", "heldout", trained, "--bits", 4).out,
    }
    assert len(losses) == 1


def test_what_is_refused_before_anything_is_written(refused: Refused, trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (tmp_path / "there.json").touch()
    assert "there.json exists already" in refused(4, "quantize", trained, out, "--errors", tmp_path / "there.json")
    arguments = ("quantize", trained, out, "--heldout")
    assert "exclude one another" in refused(3, *arguments, trained, "--no-heldout")
    assert "is no run" in refused(5, *arguments, tmp_path)
    other = Path(shutil.copytree(trained, tmp_path / "other"))
    (entry,) = [file for file in (other / "data" / "text").glob("*.json") if '"fingerprint"' in file.read_text()]
    entry.write_text(json.dumps({**json.loads(entry.read_text()), "tokenizer": "0" * 64}))
    assert "has another tokenizer than" in refused(5, *arguments, other)
    assert not out.exists()
