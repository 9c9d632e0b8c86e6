"""Bad input gives one sentence, one hint and the documented exit code, and leaves nothing half-written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

Refused = Callable[..., str]
Glm = Callable[..., object]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def test_configuration(refused: Refused, recipe: Path, out: Path) -> None:
    assert "no config file or preset 'nope.yaml'" in refused(3, "train", "nope.yaml", "--out", out)
    error = refused(3, "train", recipe, "--out", out, "--set", "train.max_stepz=1")
    assert "unknown key train.max_stepz" in error
    assert "Did you mean train.max_steps?" in error
    assert "is not of the form" in refused(3, "config", "show", "tiny", "--set", "seed")
    assert "exceeds model.max_sequence_length" in refused(
        3, "train", recipe, "--out", out, "--set", "data.seq_length=128"
    )
    assert not out.exists()


def test_what_cannot_be_trained(refused: Refused, recipe: Path, out: Path) -> None:
    """Refused before hours go into tokenising."""
    assert "768 processes on this machine" in refused(3, "train", "130b", "--out", out)
    odd = ("--nproc", "3", "--set", "parallel={tensor: 3}")
    assert "parallel.tensor 3 does not divide model.num_heads" in refused(3, "train", recipe, "--out", out, *odd)
    assert "objective.instruction_share" in refused(
        3, "train", recipe, "--out", out, "--set", "objective.instruction_share=5%"
    )
    huge = "model={num_layers: 9999, hidden_size: 12288, num_heads: 96, ffn_size: 32768, vocab_size: 16384, "
    assert "GB" in refused(6, "train", recipe, "--out", out, "--set", huge + "max_sequence_length: 64}")
    assert not out.exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "There is no file or folder"),
        (b"", "There is no text in"),
        (b'{"text": "fine"}\n{"text": "\xe9"}\n', "line 2, is not UTF-8"),
        (b'{"text": "fine"}\nnot fine\n', "line 2, is not a document"),
        (b'{"text": "too short"}\n', "less than one piece of 63"),
    ],
)
def test_sources(refused: Refused, recipe: Path, out: Path, tmp_path: Path, content: bytes | None, words: str) -> None:
    path = tmp_path / "corpus.jsonl"
    if content is not None:
        path.write_bytes(content)
    error = refused(4, "train", recipe, "--out", out, "--set", f"data.sources.text.path={path}")
    assert words in error
    assert str(path) in error
    assert not list((out / "data").iterdir())
    assert words in refused(4, "samples", "show", recipe, "--set", f"data.sources.text.path={path}")


def test_a_tokenizer_too_large_for_the_model(refused: Refused, recipe: Path, out: Path) -> None:
    error = refused(4, "train", recipe, "--out", out, "--set", "model.vocab_size=1000")
    assert "has 16384 ids" in error
    assert "1000" in error
    assert not (out / "data").exists()


def test_a_missing_tokenizer(refused: Refused, recipe: Path, out: Path, tmp_path: Path) -> None:
    error = refused(4, "train", recipe, "--out", out, "--set", f"data.tokenizer={tmp_path / 'nope'}")
    assert "There is no tokenizer at" in error


@pytest.mark.slow
def test_places(refused: Refused, recipe: Path, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    below = tmp_path / "file" / "x"
    assert f"Cannot write {below}" in refused(6, "train", recipe, "--out", below)
    assert f"Cannot write {below}" in refused(6, "quantize", trained, below)
    assert "exists already" in refused(4, "quantize", trained, tmp_path / "file")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")
    assert "exists already" in refused(4, "quantize", trained, tmp_path / "full")
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine"]


def test_another_corpus_or_seed_for_the_same_run(
    refused: Refused, run: Path, recipe: Path, corpus: Path, tmp_path: Path
) -> None:
    copy = shutil.copy(corpus, tmp_path / "copy.jsonl")
    assert "was made of another source" in refused(
        4, "train", recipe, "--out", run, "--set", f"data.sources.text.path={copy}"
    )
    assert "was trained with seed = 1234" in refused(3, "train", recipe, "--out", run, "--set", "seed=5")
    assert "holds checkpoints up to step-00000002" in refused(5, "train", recipe, "--out", run, "--resume", "none")
    assert "nope is not a checkpoint" in refused(5, "train", recipe, "--out", run, "--resume", "nope")


def test_models(refused: Refused, tmp_path: Path) -> None:
    nope = tmp_path / "nope"
    for command in (["fill", "[MASK]", "--model", nope], ["generate", "a", "--model", nope], ["eval", "heldout", nope]):
        assert f"There is no model folder {nope}" in refused(5, *command)
    assert f"There is no model folder {nope}" in refused(5, "quantize", nope, tmp_path / "q")
    assert "holds neither config.json nor checkpoints" in refused(5, "fill", "[MASK]", "--model", tmp_path)


def test_heldout_of_something_else(refused: Refused, trained: Path) -> None:
    checkpoint = next((trained / "checkpoints").iterdir())
    assert "is no run: it has no config.yaml" in refused(5, "eval", "heldout", checkpoint)


@pytest.mark.parametrize("keep", [0, 4, 1000, -1])
def test_cut_weights(refused: Refused, run: Path, tmp_path: Path, keep: int) -> None:
    (weights,) = (run / "checkpoints").rglob("model-*.safetensors")
    weights.write_bytes(weights.read_bytes()[:keep])
    assert weights.name in refused(5, "fill", "[MASK]", "--model", run)
    assert weights.name in refused(5, "quantize", run, tmp_path / "q")
    assert not (tmp_path / "q").exists()


@pytest.mark.parametrize(
    "name", ["optimizer-00001-of-00001.safetensors", "model-00001-of-00001.safetensors", "training_state.json"]
)
def test_a_cut_checkpoint_is_not_resumed(refused: Refused, run: Path, recipe: Path, name: str) -> None:
    (file,) = (run / "checkpoints").rglob(name)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    before = (run / "metrics.jsonl").read_text()
    assert name in refused(5, "train", recipe, "--out", run, "--set", "train.max_steps=3")
    assert (run / "metrics.jsonl").read_text() == before
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["step-00000002"]


def test_a_spoilt_model_configuration(refused: Refused, run: Path) -> None:
    (file,) = (run / "checkpoints").rglob("config.json")
    content = json.loads(file.read_text())
    for key, value in (("format_version", 99), ("num_layers", -1), ("hidden_size", None)):
        file.write_text(json.dumps({**content, key: value}))
        refused(5, "fill", "[MASK]", "--model", run)


def test_texts(refused: Refused, trained: Path) -> None:
    assert "has no blank" in refused(4, "fill", "no blank", "--model", trained)
    assert "has no blank" in refused(4, "fill", "", "--model", trained)
    assert "64" in refused(4, "fill", "word " * 100 + "[MASK]", "--model", trained)
    assert "64" in refused(4, "generate", "word " * 100, "--model", trained)
    assert "holds a blank" in refused(4, "generate", "a [MASK]", "--model", trained)
    assert "not UTF-8" in refused(4, "fill", "-", "--model", trained, stdin=b"\xff [MASK]")
    assert "surrogate" in refused(4, "fill", "\udcff [MASK]", "--model", trained)


def test_a_refused_text_is_not_echoed(glm: Glm, trained: Path) -> None:
    assert glm("generate", "a [MASK]", "--model", trained).out == ""


def test_numbers(refused: Refused, trained: Path, tmp_path: Path) -> None:
    assert "3 bits" in refused(3, "quantize", trained, tmp_path / "q", "--bits", 3)
    assert "16 bits" in refused(3, "fill", "[MASK]", "--model", trained, "--bits", 16)
    assert not (tmp_path / "q").exists()


def test_devices(refused: Refused, trained: Path, recipe: Path, out: Path) -> None:
    for name in ("quantum", "cuda:99"):
        assert f"There is no device {name} here" in refused(6, "fill", "[MASK]", "--model", trained, "--device", name)
        assert f"There is no device {name} here" in refused(6, "train", recipe, "--out", out, "--device", name)
    assert not out.exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["fill"],
        ["fill", "[MASK]", "--top-p", "2"],
        ["fill", "[MASK]", "--top-p", "-0.1"],
        ["fill", "[MASK]", "--temperature", "-1"],
        ["fill", "[MASK]", "--temperature", "warm"],
        ["fill", "[MASK]", "--max-new-tokens", "0"],
        ["fill", "[MASK]", "--nonsense"],
        ["train", "tiny"],
        ["quantize", "one"],
        ["samples", "show", "--count", "0"],
        ["eval", "heldout", "--sequences", "0"],
        ["config", "show", "tiny", "--set"],
        ["tokenizer", "decode", "x"],
    ],
)
def test_wrong_usage(glm: Glm, arguments: list[str]) -> None:
    result = glm(*arguments)
    assert result.code == 2
    assert result.err.splitlines()[-1].startswith("Error: ")
    assert result.out == ""
