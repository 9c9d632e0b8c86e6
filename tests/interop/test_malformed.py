"""Official checkpoints that are malformed, or do not fit their configuration: refused by name, never half-loaded."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from official import described, random_tensors, write_official
from support import TINY

from glm130b.errors import ConfigError, ModelError
from glm130b.interop import convert, load_model, read_sat

pytestmark = pytest.mark.slow


class Payload:
    def __reduce__(self) -> tuple[Any, ...]:
        return subprocess.check_call, (["touch", "ran"],)


def break_rank(change: Any) -> Any:
    """A fault in the state dict of rank 1."""

    def apply(path: Path) -> None:
        file = path / "7" / "mp_rank_01_model_states.pt"
        content = torch.load(file, weights_only=True)
        change(content)
        torch.save(content, file)

    return apply


def rename(old: str, new: str) -> Any:
    return break_rank(lambda content: content["module"].update({new: content["module"].pop(old)}))


def put(name: str, value: Any) -> Any:
    return break_rank(lambda content: content["module"].update({f"transformer.{name}": value}))


def put_raw(name: str, value: Any) -> Any:
    return break_rank(lambda content: content["module"].update({name: value}))


def other_model(path: Path) -> None:
    write_official(path / "other", random_tensors(TINY, seed=9), TINY, 2)
    (path / "other" / "7" / "mp_rank_01_model_states.pt").replace(path / "7" / "mp_rank_01_model_states.pt")


def quantised_with_scales(dtype: torch.dtype) -> Any:
    def apply(path: Path) -> None:
        write_official(path / "small", random_tensors(TINY), TINY, 2, bits=8)
        for rank in (0, 1):
            file = path / "small" / "7" / f"mp_rank_{rank:02d}_model_states.pt"
            module = torch.load(file, weights_only=True)["module"]
            changed = {name: value.to(dtype) if name.endswith("_scale") else value for name, value in module.items()}
            torch.save({"module": changed}, path / "7" / file.name)

    return apply


def another_degree(path: Path) -> None:
    write_official(path / "four", random_tensors(TINY), TINY, 4)
    (path / "four" / "7" / "mp_rank_01_model_states.pt").replace(path / "7" / "mp_rank_01_model_states.pt")


def half_quantised(path: Path) -> None:
    write_official(path / "small", random_tensors(TINY), TINY, 2, bits=8)
    (path / "small" / "7" / "mp_rank_01_model_states.pt").replace(path / "7" / "mp_rank_01_model_states.pt")


def extra_rank(path: Path) -> None:
    (path / "7" / "mp_rank_03_model_states.pt").write_bytes((path / "7" / "mp_rank_00_model_states.pt").read_bytes())


def flip(path: Path) -> None:
    file = path / "7" / "mp_rank_01_model_states.pt"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def truncate(path: Path) -> None:
    file = path / "7" / "mp_rank_01_model_states.pt"
    file.write_bytes(file.read_bytes()[:-5000])


MALFORMED: dict[str, tuple[Any, str]] = {
    "missing key": (
        break_rank(lambda content: content["module"].pop("transformer.layers.1.mlp.dense_h_to_4h.bias")),
        r"mp_rank_01_model_states.pt lacks layers.1.mlp.dense_h_to_4h.bias",
    ),
    "superfluous key": (
        put("layers.0.lora", torch.ones(2)),
        "mp_rank_01.* holds layers.0.lora, which the model",
    ),
    "wrong shape": (
        put("layers.0.attention.dense.weight", torch.ones(32, 17).half()),
        r"mp_rank_01.*layers.0.attention.dense.weight is \[32, 17\].*have \[32, 16\]",
    ),
    "wrong type": (
        put("layers.0.attention.dense.weight", torch.ones(32, 16, dtype=torch.int64)),
        "layers.0.attention.dense.weight is of type torch.int64",
    ),
    "other type than rank 0": (
        put("layers.0.attention.dense.weight", torch.ones(32, 16)),
        "layers.0.attention.dense.weight is of type torch.float32",
    ),
    "no dimension": (put("layers.0.attention.dense.weight", torch.tensor(1.0)), r"dense.weight is \[\]"),
    "one dimension": (put("layers.0.mlp.dense_h_to_4h.weight", torch.ones(9)), r"dense_h_to_4h.weight is \[9\]"),
    "not a tensor": (put("layers.0.attention.dense.weight", 3), "layers.0.attention.dense.weight is not a tensor"),
    "files of different numbers of ranks": (
        another_degree,
        r"mp_rank_01.*word_embeddings.weight is \[16, 32\].*\[32, 32\]",
    ),
    "one rank quantised": (half_quantised, "mp_rank_01.* is of type torch.int8"),
    "the last rank is missing": (
        lambda path: (path / "7" / "mp_rank_01_model_states.pt").unlink(),
        "holds 1 rank files, but they are of 2 ranks; mp_rank_01_model_states.pt is missing",
    ),
    "a rank of another model": (other_model, r"mp_rank_01.*dense.bias is not as in rank 0, though every rank has all"),
    "two keys with one name": (
        put_raw("layers.0.attention.dense.bias", torch.ones(32).half()),
        "two tensors called layers.0.attention.dense.bias",
    ),
    "latest with a long name": (lambda path: (path / "latest").write_text("7" * 300), "cannot be read"),
    "scales of another type": (
        quantised_with_scales(torch.float32),
        "query_key_value.weight_scale is of type torch.float32",
    ),
    "two files of one rank": (
        lambda path: (path / "7" / "mp_rank_01_model_states.pt").rename(path / "7" / "mp_rank_001_model_states.pt"),
        "mp_rank_01_model_states.pt is missing",
    ),
    "a rank is missing": (extra_rank, "lacks mp_rank_02_model_states.pt"),
    "no module": (break_rank(lambda content: content.update(module=None)), "no state dict under `module`"),
    "code in module": (
        break_rank(lambda content: content["module"].update(x=Payload())),
        "names .*check_call, which .* may be code",
    ),
    "code elsewhere": (
        break_rank(lambda content: content.update(args=Payload())),
        "names .*check_call, which .* may be code",
    ),
    "not zip": (
        lambda path: (path / "7" / "mp_rank_01_model_states.pt").write_bytes(b"\x80\x02 old"),
        "is not a checkpoint of tensors",
    ),
    "truncated": (truncate, "mp_rank_01_model_states.pt is not a checkpoint of tensors, or damaged"),
    "flipped bit": (flip, "mp_rank_01_model_states.pt is damaged: the bytes of transformer.layers"),
    "latest is missing": (lambda path: (path / "latest").unlink(), "holds neither"),
    "latest points nowhere": (lambda path: (path / "latest").write_text("8"), "holds 0 rank files"),
    "latest points away": (lambda path: (path / "latest").write_text("../7"), "not the name of a folder"),
    "vocabulary": (
        rename("transformer.word_embeddings.weight", "transformer.words.weight"),
        "lacks word_embeddings.weight",
    ),
}


@pytest.mark.parametrize("fault", MALFORMED)
def test_malformed_checkpoints_are_refused_by_name(fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_official(tmp_path / "a", random_tensors(TINY), TINY, 2)
    damage, message = MALFORMED[fault]
    damage(tmp_path / "a")
    config = described(TINY, tmp_path)
    with pytest.raises(ModelError, match=message) as caught:
        load_model(tmp_path / "a", config=config)
    assert caught.value.next_step
    with pytest.raises(ModelError, match=message):
        convert(tmp_path / "a", tmp_path / "out", to="folder", config=config)
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "ran").exists()


def test_int4_with_odd_columns(tmp_path: Path) -> None:
    config = TINY.model_copy(update={"ffn_size": 6})
    write_official(tmp_path / "a", random_tensors(config), config, 2)
    for to in ("sat", "folder"):
        with pytest.raises(ModelError, match=r"dense_4h_to_h.weight cannot be quantised to 4 bits: .*[36] columns"):
            convert(
                tmp_path / "a",
                tmp_path / "out",
                to=to,  # type: ignore[arg-type]
                tensor_parallel=2,
                bits=4,
                config=described(config, tmp_path),
            )
    write_official(tmp_path / "b", random_tensors(TINY), TINY, 2, bits=4)
    name = "layers.0.attention.dense.weight"
    for rank in (0, 1):
        file = tmp_path / "b" / "7" / f"mp_rank_{rank:02d}_model_states.pt"
        content = torch.load(file, weights_only=True)
        content["module"][f"transformer.{name}"] = torch.zeros(32, 7, dtype=torch.int8)
        torch.save(content, file)
    with pytest.raises(
        ModelError, match=rf"{name} is \[32, 7\].*\[32, 8\]|neither the INT8 nor the INT4 of \[32, 16\]"
    ):
        read_sat(tmp_path / "b", described(TINY, tmp_path))


def test_configurations_that_do_not_fit(tmp_path: Path) -> None:
    write_official(tmp_path / "a", random_tensors(TINY), TINY, 2)
    other = tmp_path / "other.json"
    with pytest.raises(ConfigError, match="which is not GLM-130B, and its files do not say how many heads"):
        load_model(tmp_path / "a")
    for content, message in (
        ({"num_layers": 3}, "does not say num_heads"),
        ({"num_heads": 5}, "must be an even multiple of num_heads 5"),
        ({"num_heads": 4, "num_layers": 9}, "says num_layers 9, .* has 3"),
        ({"num_heads": "many"}, "num_heads"),
        ([1], "does not hold a JSON object"),
    ):
        other.write_text(json.dumps(content))
        with pytest.raises(ConfigError, match=message):
            load_model(tmp_path / "a", config=str(other))
    for choice, message in (("130b", "says num_layers 70"), ("nothing", "neither a preset nor a file nothing")):
        with pytest.raises(ConfigError, match=message):
            load_model(tmp_path / "a", config=choice)
    other.write_text("{")
    with pytest.raises(ConfigError, match="cannot be read as JSON"):
        load_model(tmp_path / "a", config=str(other))
    with pytest.raises(ModelError, match="4 heads do not divide among 3 ranks"):
        convert(tmp_path / "a", tmp_path / "b", to="sat", tensor_parallel=3, config=described(TINY, tmp_path))
