"""``glm plan`` and ``glm quant analyse``, and models within a memory."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Refused, Result

from glm130b import offload

Glm = Callable[..., Result]


@pytest.fixture
def bandwidths(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for measurements."""
    monkeypatch.setattr(offload, "memory_bandwidth", lambda: 20e9)
    monkeypatch.setattr(offload, "disk_bandwidth", lambda path: 2e9)
    monkeypatch.setattr(offload, "available_memory", lambda: 24 * 10**9)


def rows_of(text: str) -> dict[str, str]:
    return {line.split("  ")[1]: line for line in text.split("\n\n")[1].splitlines()[2:]}


@pytest.mark.usefixtures("bandwidths")
def test_a_preset_on_the_machines_of_the_paper(glm: Glm) -> None:
    result = glm("plan", "130b", "--inference", "--bits", 4)
    assert result.code == 0, result
    rows = rows_of(result.out)
    assert re.search(r"17\.2 GB +1\.9 GB +yes", rows["4 x RTX 3090 24 GB"])
    assert re.search(r"9\.1 GB +1\.0 GB +yes", rows["8 x RTX 2080 Ti 11 GB"])
    assert "disk unknown" in rows["this CPU"]
    assert "measured just now" in result.out


@pytest.mark.usefixtures("bandwidths")
def test_a_run_on_this_cpu(glm: Glm, trained: Path) -> None:
    result = glm("plan", trained, "--inference", "--device", "cpu", "--memory", "1GB", "--context", 32)
    assert result.code == 0, result
    row = rows_of(result.out)["this CPU"]
    weights = sum(file.stat().st_size for file in trained.glob("checkpoints/*-00000002/model-*.safetensors"))
    assert f"{weights / 1e6:.1f} MB" in row
    assert re.search(r"yes +9,\d+ +8,\d+ +64$", row)  # 20 GB/s over 2.1 MB, and nine tenths of it
    assert "20 (2.0)" in result.out


def test_without_inference_it_is_the_plan_of_a_training(glm: Glm, recipe: Path) -> None:
    result = glm("plan", recipe)
    assert result.code == 0, result
    assert "Schedules" in result.out
    assert "nothing was trained" in result.out


@pytest.mark.parametrize(
    "options",
    [
        ["--bits", 4],
        ["--inference", "--bits", 5],
        ["--inference", "--group", "64"],
        ["--inference", "--device", "RTX 9090"],
        ["--inference", "--device", "H200", "--memory", "8GB"],
        ["--inference", "--device", "cpu", "--memory", "8"],
        ["--inference", "--bits", 4, "--group", "128", "--device", "H200"],
    ],
    ids=str,
)
def test_plans_that_cannot_be_made(options: list[object], refused: Refused, recipe: Path) -> None:
    refused(3, "plan", recipe, *options)


def test_an_analysis_of_a_run(glm: Glm, trained: Path, tmp_path: Path) -> None:
    result = glm("quant", "analyse", trained, "--out", tmp_path / "out", "--heldout", trained)
    assert result.code == 0, result
    assert "error, INT4, groups of 32" in result.out
    assert "Activations: at most" in result.out
    content = json.loads((tmp_path / "out" / "analysis.json").read_text())
    assert len(content["matrices"]) == len(content["activations"]) == 4
    assert content["text"] == f"held-out text of {trained}"
    assert content["activations"][0]["tokens"] > 100
    assert (tmp_path / "out" / "analysis.html").stat().st_size > 10_000


def test_an_analysis_with_a_text_of_ones_own(glm: Glm, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("A few words. " * 100)
    words = ["quant", "analyse", trained, "--out", tmp_path / "out", "--bits", 4, "--group", "row"]
    result = glm(*words, "--text", tmp_path / "text", "--tokens", 200)
    assert result.code == 0, result
    content = json.loads((tmp_path / "out" / "analysis.json").read_text())
    assert {(loss["bits"], loss["grain"]) for matrix in content["matrices"] for loss in matrix["losses"]} == {
        (4, "rows")
    }
    # Two hundred tokens in windows of 63 and, before each, a [gMASK] and in the last token's place sop.
    assert content["activations"][0]["tokens"] == 200 + 4


def test_analyses_that_cannot_be_made(refused: Refused, trained: Path, tmp_path: Path) -> None:
    out = ["--out", tmp_path / "out"]
    (tmp_path / "empty").write_text("")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\xff")
    refused(3, "quant", "analyse", trained, *out, "--bits", 5)
    refused(3, "quant", "analyse", trained, *out, "--text", tmp_path / "empty", "--heldout", trained)
    refused(4, "quant", "analyse", trained, *out, "--text", tmp_path / "empty")
    refused(4, "quant", "analyse", trained, *out, "--text", tmp_path / "bytes")
    refused(4, "quant", "analyse", trained, *out, "--text", tmp_path / "nothing")
    refused(5, "quant", "analyse", tmp_path / "nothing", *out)
    assert not (tmp_path / "out").exists()


def test_filling_within_a_memory(glm: Glm, trained: Path, refused: Refused) -> None:
    words = ["fill", "A few [MASK].", "--model", trained, "--device", "cpu", "--max-new-tokens", 4]
    whole, limited = glm(*words), glm(*words, "--memory", "64GB")
    assert whole.code == limited.code == 0
    assert whole.out == limited.out
    assert "too little" in refused(6, *words, "--memory", "50MB")
    assert "not an amount of memory" in refused(3, *words, "--memory", "lots")
