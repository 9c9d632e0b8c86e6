"""Model folders: written whole, memory-mapped, refused by name when damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from support import TINY

import glm130b
from glm130b.config import ModelConfig
from glm130b.errors import ConfigError, DataError, ModelError, ResourceError
from glm130b.interop import load, load_model, quantize_folder, resolve, write_folder
from glm130b.model import GLM, build_model
from glm130b.tokenization import Tokenizer

CONFIG = TINY.model_copy(update={"vocab_size": 16384})


@pytest.fixture
def folder(tmp_path: Path, tokenizer: Tokenizer) -> Path:
    path = tmp_path / "model"
    model = build_model(CONFIG, seed=5)
    write_folder(path, model.state_dict(), CONFIG, tokenizer, max_shard_bytes=1_000_000)
    return path


def logits(model: GLM) -> torch.Tensor:
    tokens = torch.arange(8)[None]
    with torch.no_grad():
        return model(tokens, tokens, torch.zeros_like(tokens), torch.zeros_like(tokens))


def test_round_trip_in_several_shards(folder: Path, tokenizer: Tokenizer) -> None:
    assert len(list(folder.glob("model-*.safetensors"))) > 1
    model, loaded = glm130b.load(folder)
    assert model.config == CONFIG
    assert loaded.fingerprint == tokenizer.fingerprint
    assert torch.equal(logits(model), logits(build_model(CONFIG, seed=5)))
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_weights_are_memory_mapped(folder: Path) -> None:
    model = load_model(folder)
    mapped = Path("/proc/self/maps").read_text()
    assert str(folder / "model-00001-of") in mapped
    assert model.word_embeddings.weight.shape == (16384, 32)


def test_hugging_face_index(folder: Path) -> None:
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    names = dict(build_model(CONFIG, seed=5).state_dict())
    assert index["weight_map"].keys() == names.keys()
    assert index["metadata"]["total_size"] == sum(tensor.nbytes for tensor in names.values())
    assert set(index["weight_map"].values()) == {path.name for path in folder.glob("*.safetensors")}


@pytest.mark.parametrize("bits", [8, 4])
def test_quantised_while_loading_equals_quantised_folder(folder: Path, tmp_path: Path, bits: Any) -> None:
    quantize_folder(folder, tmp_path / "small", bits)
    on_the_fly, stored = load_model(folder, bits=bits), load_model(tmp_path / "small")
    assert torch.equal(logits(on_the_fly), logits(stored))
    assert stored.layers[0].mlp.dense_4h_to_h.weight.dtype == torch.int8
    with pytest.raises(ModelError, match="is quantised already: INT"):
        quantize_folder(tmp_path / "small", tmp_path / "smaller", 4)
    with pytest.raises(ModelError, match="is quantised already: INT"):
        load_model(tmp_path / "small", bits=12 - bits)
    with pytest.raises(DataError, match="exists already"):
        quantize_folder(folder, tmp_path / "small", bits)


def test_dtype(folder: Path) -> None:
    model = load_model(folder, dtype=torch.bfloat16)
    assert model.word_embeddings.weight.dtype == torch.bfloat16
    assert logits(model).dtype == torch.bfloat16
    with pytest.raises(ResourceError, match="no device tpu"):
        load_model(folder, device="tpu")


def damage_truncate(folder: Path) -> str:
    shard = sorted(folder.glob("*.safetensors"))[-1]
    shard.write_bytes(shard.read_bytes()[:-40])
    return "is truncated or damaged"


def damage_shard(folder: Path) -> str:
    sorted(folder.glob("*.safetensors"))[0].unlink()
    return "safetensors is missing"


def damage_index(folder: Path) -> str:
    (folder / "model.safetensors.index.json").unlink()
    return "index.json is missing"


def damage_json(folder: Path) -> str:
    (folder / "config.json").write_text("{")
    return "is not valid JSON"


def damage_config(folder: Path) -> str:
    content = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**content, "hidden_size": "wide"}))
    return "does not describe a model"


def damage_shape(folder: Path) -> str:
    content = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**content, "ffn_size": 64}))
    return r"dense_h_to_4h.weight is \[96, 32\], the model wants \[128, 32\]"


def damage_layers(folder: Path) -> str:
    content = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**content, "num_layers": 4}))
    return r"lacks layers.3"


def damage_format(folder: Path) -> str:
    content = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**content, "format_version": 99}))
    return "is not a glm130b model folder of format 1"


@pytest.mark.parametrize(
    "damage",
    [
        damage_truncate,
        damage_shard,
        damage_index,
        damage_json,
        damage_config,
        damage_shape,
        damage_layers,
        damage_format,
    ],
)
def test_damage_is_named(folder: Path, damage: Any) -> None:
    message = damage(folder)
    with pytest.raises(ModelError, match=message) as caught:
        load(folder)
    assert caught.value.next_step


def test_missing_model_and_wrong_vocabulary(tmp_path: Path, tokenizer: Tokenizer) -> None:
    with pytest.raises(ModelError, match="no model folder"):
        load(tmp_path / "nowhere")
    with pytest.raises(ModelError, match="holds neither"):
        resolve(tmp_path)
    narrow: ModelConfig = CONFIG.model_copy(update={"vocab_size": 128})
    write_folder(tmp_path / "narrow", build_model(narrow, seed=0).state_dict(), narrow, tokenizer)
    with pytest.raises(DataError, match="has 16384 ids, the model's vocabulary only 128 rows"):
        load(tmp_path / "narrow")


def test_another_tokenizer_is_refused(folder: Path, tmp_path: Path) -> None:
    """Even one with as many ids: they would stand for other words."""
    content = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**content, "tokenizer_fingerprint": "0" * 64}))
    with pytest.raises(DataError, match="holds another tokenizer than its model was trained with"):
        load(folder)


@pytest.mark.parametrize("bits", [3, "8", 4.0])
def test_senseless_bits(folder: Path, tmp_path: Path, bits: Any) -> None:
    with pytest.raises(ConfigError, match="cannot be quantised to"):
        load(folder, bits=bits)
    with pytest.raises(ConfigError, match="cannot be quantised to"):
        quantize_folder(folder, tmp_path / "small", bits)
