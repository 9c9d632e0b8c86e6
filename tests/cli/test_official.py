"""From an official checkpoint to an answer, and back, as someone who holds one would do it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from official import random_tensors, write_official
from sentencepiece import SentencePieceProcessor
from small_ice import MODEL

from glm130b.config import ModelConfig

pytestmark = pytest.mark.slow

Glm = Callable[..., Any]
Refused = Callable[..., str]

CONFIG = ModelConfig(num_layers=2, hidden_size=8, num_heads=2, ffn_size=12, vocab_size=150528, max_sequence_length=64)


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of two ranks with the official vocabulary and a stand-in for its tokenizer; not to be changed."""
    path = tmp_path_factory.mktemp("official")
    tensors = random_tensors(CONFIG)
    # Only pieces that the stand-in has are ever likely.
    words = tensors["word_embeddings.weight"]
    known = slice(20000, 20000 + len(SentencePieceProcessor(model_proto=MODEL)))
    pieces = words[known] + 1
    words[:] = -1
    words[known] = pieces
    tensors["final_layernorm.bias"][:] = 4
    write_official(path / "glm-130b", tensors, CONFIG, 2)
    (path / "sizes.json").write_text(json.dumps({"num_attention_heads": 2, "max_sequence_length": 64}))
    (path / "glm-130b" / "ice_text.model").write_bytes(MODEL)
    return path


def test_from_the_parts_to_an_answer(glm: Glm, official: Path, tmp_path: Path) -> None:
    sizes = ("--config", official / "sizes.json")
    seen = glm("inspect", official / "glm-130b", *sizes, "--verify")
    assert seen.code == 0, seen
    assert re.search(r"official checkpoint, iteration 7, 2 tensor-parallel ranks", seen.out)
    assert seen.out.count("verified") == 2
    done = glm("convert", official / "glm-130b", tmp_path / "folder", "--to", "folder", "--bits", "8", *sizes)
    assert done.code == 0, done
    assert done.out.startswith(f"Wrote {tmp_path / 'folder'}: model folder, INT8 by rows, embedding and norms FP16")
    seen = glm("inspect", tmp_path / "folder", "--verify")
    assert "2 layers, hidden 8, 2 heads, feed-forward 12, vocabulary 150528" in seen.out
    assert "icetk, 150008 ids" in seen.out
    assert "frequencies rounded to FP16" in seen.out
    for options in ((), ("--beams", "2", "--min-tokens", "3"), ("--top-p", "0.9"), ("--dtype", "bf16")):
        filled = glm("fill", "Hello [MASK]! 你好", "--model", tmp_path / "folder", "--max-new-tokens", 4, *options)
        assert filled.code == 0, filled
        assert "[MASK] = " in filled.err
        assert filled.out.startswith("Hello")
    assert glm("generate", "Hello", "--model", tmp_path / "folder", "--max-new-tokens", 3).code == 0
    done = glm("convert", tmp_path / "folder", tmp_path / "back", "--to", "sat", "--tp", 2)
    assert done.code == 0, done
    assert (tmp_path / "back" / "latest").read_text() == "1"
    assert len(done.out.splitlines()) == 1
    state = torch.load(tmp_path / "back" / "1" / "mp_rank_01_model_states.pt", weights_only=True)["module"]
    assert state["transformer.word_embeddings.weight"].shape == (75264, 8)
    assert state["transformer.layers.1.mlp.dense_h_to_4h.weight"].dtype == torch.int8


def test_without_and_with_a_tokenizer(glm: Glm, refused: Refused, official: Path, tmp_path: Path) -> None:
    write_official(tmp_path / "bare", random_tensors(CONFIG), CONFIG, 1)
    done = glm("convert", tmp_path / "bare", tmp_path / "a", "--to", "folder", "--config", official / "sizes.json")
    assert "It has no tokenizer: put its own into it" in done.out
    assert "holds no tokenizer" in refused(4, "fill", "a [MASK]", "--model", tmp_path / "a")
    (tmp_path / "a" / "ice_text.model").write_bytes(MODEL)
    assert glm("fill", "a [MASK]", "--model", tmp_path / "a", "--max-new-tokens", 2).code == 0
    arguments = ("--to", "folder", "--config", official / "sizes.json", "--tokenizer")
    done = glm("convert", tmp_path / "bare", tmp_path / "b", *arguments, official / "glm-130b" / "ice_text.model")
    assert done.code == 0, done
    assert (tmp_path / "b" / "ice_text.model").read_bytes() == MODEL
    options = tmp_path / "b" / "tokenizer_config.json"
    content = json.loads(options.read_text())
    options.write_text(json.dumps({**content, "newlines": "piece"}))
    assert glm("fill", "a\n[MASK]", "--model", tmp_path / "b", "--max-new-tokens", 2).code == 0
    (tmp_path / "b" / "ice_text.model").write_bytes(MODEL + b"\x1a\x00")
    assert "another tokenizer" in refused(4, "fill", "a [MASK]", "--model", tmp_path / "b")


def test_refusals(refused: Refused, glm: Glm, official: Path, tmp_path: Path) -> None:
    source, sizes = official / "glm-130b", ("--config", official / "sizes.json")
    out = tmp_path / "out"
    assert "do not say how many heads" in refused(3, "convert", source, out, "--to", "folder")
    assert "do not say how many heads" in refused(3, "fill", "a [MASK]", "--model", source)
    assert "neither a preset nor a file" in refused(3, "convert", source, out, "--to", "folder", "--config", "131b")
    assert "cannot be quantised to 5 bits" in refused(3, "convert", source, out, "--to", "sat", "--bits", 5, *sizes)
    assert "do not divide among 5 ranks" in refused(5, "convert", source, out, "--to", "sat", "--tp", 5, *sizes)
    assert "no tokenizer at" in refused(4, "convert", source, out, "--to", "folder", "--tokenizer", out, *sizes)
    assert "exists already" in refused(4, "convert", source, tmp_path, "--to", "folder", *sizes)
    assert "There is no model folder" in refused(5, "inspect", out)
    assert "--dtype int8 is not known" in refused(3, "fill", "a [MASK]", "--model", source, "--dtype", "int8")
    assert glm("convert", source, out, "--to", "hf").code == 2
    assert not out.exists()


def test_damage_is_shown_and_ends_with_5(glm: Glm, official: Path, tmp_path: Path) -> None:
    arguments = ("--to", "folder", "--config", official / "sizes.json")
    assert glm("convert", official / "glm-130b", tmp_path / "x", *arguments).code == 0
    (file,) = (tmp_path / "x").glob("*.safetensors")
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)
    seen = glm("inspect", tmp_path / "x", "--verify")
    assert seen.code == 5
    assert "layout          model folder" in seen.out
    assert "damaged: final_layernorm.bias" in seen.out
    assert "1 of the 2 files" in seen.err
    assert glm("inspect", tmp_path / "x").code == 0
    file.write_bytes(content[:-1])
    seen = glm("inspect", tmp_path / "x", "--verify")
    assert seen.code == 5
    assert "bytes instead of" in seen.out
    assert "config.json" in seen.out


def test_what_the_official_layout_cannot_say_is_said(glm: Glm, refused: Refused, trained: Path, tmp_path: Path) -> None:
    done = glm("convert", trained, tmp_path / "out", "--to", "sat")
    assert done.code == 0, done
    assert "Its rotary frequencies are exact; the official code rounds them" in done.out
    assert "Its weights were rounded to FP16." in done.out
    assert "cannot be read" in refused(5, "inspect", tmp_path / ("x" * 300))
    assert "Cannot write" in refused(6, "convert", trained, tmp_path / ("x" * 300), "--to", "sat")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    assert "exists already" in refused(4, "convert", trained, tmp_path / "link", "--to", "sat")
    assert "is not the name of a new folder" in refused(4, "convert", trained, tmp_path / "no" / "..", "--to", "sat")
    assert "is a file" in refused(5, "inspect", tmp_path / "out" / "latest")
