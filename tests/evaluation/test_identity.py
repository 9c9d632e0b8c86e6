"""Which model answers: digests of weights, and what else changes an answer."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from official import random_tensors, write_official
from support import TINY

from glm130b.config import ModelConfig
from glm130b.errors import ModelError
from glm130b.evaluation.answers import AnswerStore, answer_all
from glm130b.evaluation.engine import Engine
from glm130b.evaluation.identity import identity_of, weights_digest
from glm130b.evaluation.items import Choose
from glm130b.interop import load, write_folder
from glm130b.model import GLM, build_model
from glm130b.tokenization import Tokenizer

SIZES = ModelConfig(num_layers=2, hidden_size=64, num_heads=2, ffn_size=128, vocab_size=16384, max_sequence_length=64)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer) -> Path:
    path = tmp_path_factory.mktemp("identity") / "model"
    write_folder(path, build_model(SIZES, seed=1).state_dict(), SIZES, tokenizer)
    return path


def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    from glm130b.files import sha256_of_file

    read: list[str] = []

    def counting(path: Path) -> str:
        read.append(path.name)
        return sha256_of_file(path)

    monkeypatch.setattr("glm130b.evaluation.identity.sha256_of_file", counting)
    return read


def test_weights_are_read_once(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = counted(monkeypatch)
    digest = weights_digest(folder, tmp_path / "memory")
    assert len(read) == 1
    assert weights_digest(folder, tmp_path / "memory") == digest
    assert len(read) == 1
    copy = shutil.copytree(folder, tmp_path / "under another name")
    assert weights_digest(copy, tmp_path / "memory") == digest
    assert len(read) == 2
    assert weights_digest(folder, tmp_path / "other memory") == digest
    assert len(read) == 3


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"x": 3}'])
def test_a_damaged_memory_is_made_anew(folder: Path, tmp_path: Path, content: str) -> None:
    digest = weights_digest(folder, tmp_path)
    whole = (tmp_path / "weights.json").read_text()
    (tmp_path / "weights.json").write_text(content)
    assert weights_digest(folder, tmp_path) == digest
    assert json.loads((tmp_path / "weights.json").read_text()) == json.loads(whole)


def test_other_weights_have_another_digest(
    folder: Path, tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the same place, of the same size."""
    place = tmp_path / "model"
    shutil.copytree(folder, place)
    digest = weights_digest(place, tmp_path)
    shutil.rmtree(place)
    write_folder(place, build_model(SIZES, seed=2).state_dict(), SIZES, tokenizer)
    read = counted(monkeypatch)
    assert weights_digest(place, tmp_path) != digest
    assert len(read) == 1


def test_official_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever they are called; and without knowing how many heads they have."""
    write_official(tmp_path / "a", random_tensors(TINY), TINY, 2)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    (tmp_path / "b" / "7").rename(tmp_path / "b" / "12")
    (tmp_path / "b" / "latest").write_text("12")
    write_official(tmp_path / "c", random_tensors(TINY, seed=1), TINY, 2)
    read = counted(monkeypatch)
    a, b, c = (weights_digest(tmp_path / name, tmp_path) for name in "abc")
    assert a == b != c
    assert sorted(read) == [f"mp_rank_0{rank}_model_states.pt" for rank in (0, 0, 0, 1, 1, 1)]
    with pytest.raises(ModelError, match="no model folder"):
        weights_digest(tmp_path / "d", tmp_path)


def test_what_changes_an_identity(folder: Path, tokenizer: Tokenizer) -> None:
    variants: list[Callable[[], tuple[GLM, Tokenizer]]] = [
        lambda: load(folder),
        lambda: load(folder, dtype=torch.bfloat16),
        lambda: load(folder, bits=8),
        lambda: load(folder, bits=4, group_size="row"),
        lambda: load(folder, bits=4, group_size=32),
        lambda: load(folder, bits=4, group_size=64),
    ]
    found = [identity_of(*variant(), "weights") for variant in variants]
    assert len({identity.digest for identity in found}) == len(variants)
    assert {identity.device for identity in found} == {"cpu"}
    model, own = load(folder)
    assert identity_of(model, own, "weights").digest == found[0].digest
    assert identity_of(model, own, "others").digest != found[0].digest
    model.config = SIZES.model_copy(update={"conventions": "official"})
    assert identity_of(model, own, "weights").digest != found[0].digest
    model.config = SIZES.model_copy(update={"rope_frequencies": "fp16"})
    assert identity_of(model, own, "weights").digest != found[0].digest


def test_a_model_that_is_read_as_it_is_needed_is_the_same(folder: Path) -> None:
    resident, streamed = load(folder), load(folder, memory_limit=10**12)
    assert streamed[0].streamed
    assert identity_of(*streamed, "w").digest == identity_of(*resident, "w").digest


def test_other_bits_never_find_old_answers(folder: Path, tmp_path: Path) -> None:
    """Each model's answers are its own, and stay to be found."""
    requests = [Choose((9, 10, 11 + n), ((20,), (30, 31)), "[gMASK]") for n in range(5)]
    found = {}
    for bits in (None, 8, 4, None, 8, 4):
        model, tokenizer = load(folder, bits=bits)
        with AnswerStore(tmp_path / "answers.jsonl", identity_of(model, tokenizer, "w")) as store:
            before = len(store)
            answers = answer_all(Engine(model, tokenizer), store, requests)
            assert len(store) - before == (0 if bits in found else 5)
        assert found.setdefault(bits, answers) == answers
    assert found[None] != found[8] != found[4]
