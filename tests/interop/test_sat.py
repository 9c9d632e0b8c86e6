"""Official checkpoints read and written, against the reference files and against ones made slowly."""

from __future__ import annotations

import argparse
import json
import random
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from official import random_tensors, write_official
from support import FIXTURE_CONFIG, FIXTURES, TINY

from glm130b.config import ModelConfig
from glm130b.errors import ConfigError, ModelError
from glm130b.interop import convert, load_model, open_model, open_sat, read_sat
from glm130b.interop.sharding import Rank, Whole

CHECKPOINTS = FIXTURES / "checkpoints"


def states(path: Path) -> list[dict[str, torch.Tensor]]:
    """What PyTorch itself reads from a checkpoint's files."""
    folder = path / (path / "latest").read_text()
    return [torch.load(file, weights_only=True)["module"] for file in sorted(folder.iterdir())]


def same(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> bool:
    return ours.keys() == theirs.keys() and all(
        ours[name].dtype == theirs[name].dtype and torch.equal(ours[name], theirs[name]) for name in theirs
    )


@pytest.mark.parametrize("name", ["tp2", "tp4"])
def test_ranks_put_together(name: str) -> None:
    assert same(read_sat(CHECKPOINTS / name, FIXTURE_CONFIG), read_sat(CHECKPOINTS / "tp1", FIXTURE_CONFIG))


@pytest.mark.parametrize("source", ["tp1", "tp2", "tp4"])
@pytest.mark.parametrize("degree", [1, 2, 4])
def test_the_official_files_come_out_again(source: str, degree: int, tmp_path: Path) -> None:
    """Every key in the official order, every bit, from any number of ranks to any other."""
    convert(CHECKPOINTS / source, tmp_path / "out", to="sat", tensor_parallel=degree, config=FIXTURE_CONFIG)
    for ours, theirs in zip(states(tmp_path / "out"), states(CHECKPOINTS / f"tp{degree}"), strict=True):
        assert list(ours) == list(theirs)
        assert same(ours, theirs)
    assert (tmp_path / "out" / "latest").read_bytes() == b"49300"


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("degree", [1, 2])
def test_quantised_official_files_come_out_again(bits: Any, degree: int, tmp_path: Path) -> None:
    """Quantised by us on the way from a folder; and read, made a folder of, and written again."""
    expected = CHECKPOINTS / f"tp{degree}-int{bits}"
    convert(CHECKPOINTS / "tp4", tmp_path / "folder", to="folder", config=FIXTURE_CONFIG)
    convert(tmp_path / "folder", tmp_path / "ours", to="sat", tensor_parallel=degree, bits=bits)
    convert(expected, tmp_path / "small", to="folder", config=FIXTURE_CONFIG)
    convert(tmp_path / "small", tmp_path / "again", to="sat", tensor_parallel=degree)
    convert(
        CHECKPOINTS / "tp1", tmp_path / "as-if", to="folder", bits=bits, tensor_parallel=degree, config=FIXTURE_CONFIG
    )
    for rank, theirs in enumerate(states(expected)):
        assert same(states(tmp_path / "ours")[rank], theirs)
        assert same(states(tmp_path / "again")[rank], theirs)
    merged = read_sat(expected, FIXTURE_CONFIG)
    (as_if,) = open_model(tmp_path / "as-if").ranks
    assert same({name: as_if.read(name) for name in as_if.infos}, merged)


def test_every_key_shape_and_type_of_the_list() -> None:
    listed = json.loads((CHECKPOINTS / "keys.json").read_text())
    assert len(listed) == 7
    for name, facts in listed.items():
        opened = open_sat(CHECKPOINTS / name, FIXTURE_CONFIG)
        assert opened.degree == len(facts["files"])
        assert opened.iteration == facts["iteration"]
        assert opened.bits == {"int8": 8, "int4": 4}.get(name.partition("-")[2])
        for rank in opened.ranks:
            found = {
                key: [list(info.shape), str(info.dtype).removeprefix("torch.")] for key, info in rank.file.infos.items()
            }
            assert found == facts["tensors_per_file"]


@st.composite
def shapes(draw: st.DrawFn) -> tuple[ModelConfig, int, int]:
    """A model that can be cut for two numbers of ranks."""
    degree, other = draw(st.sampled_from([(1, 2), (2, 1), (2, 4), (4, 2), (2, 3), (3, 2), (3, 1), (4, 4), (2, 6)]))
    common = int(np.lcm(degree, other))
    heads = common * draw(st.integers(1, 2))
    config = ModelConfig(
        num_layers=draw(st.integers(1, 3)),
        num_heads=heads,
        hidden_size=heads * draw(st.sampled_from([2, 4])),
        ffn_size=2 * common * draw(st.integers(1, 3)),
        vocab_size=common * draw(st.integers(1, 9)),
        max_sequence_length=32,
        rope_frequencies="fp16",
        conventions="official",
    )
    return config, degree, other


def described(config: ModelConfig, tmp_path: Path) -> str:
    file = tmp_path / "sizes.json"
    file.write_text(json.dumps({"num_attention_heads": config.num_heads, "max_sequence_length": 32}))
    return str(file)


@pytest.mark.slow
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn=shapes(), bits=st.sampled_from([None, 8, 4]), dtype=st.sampled_from([torch.float16, torch.float32]))
def test_any_shape_and_number_of_ranks(
    drawn: tuple[ModelConfig, int, int], bits: Any, dtype: torch.dtype, tmp_path_factory: pytest.TempPathFactory
) -> None:
    config, degree, other = drawn
    path = tmp_path_factory.mktemp("any")
    tensors = random_tensors(config, dtype=dtype if bits is None else torch.float16)
    write_official(path / "theirs", tensors, config, degree, bits=bits)
    opened = open_sat(path / "theirs", described(config, path))
    assert opened.config == config
    assert opened.bits == bits
    if bits is None:
        assert same(read_sat(path / "theirs", described(config, path)), tensors)
        write_official(path / "expected", {name: tensor.half() for name, tensor in tensors.items()}, config, other)
        convert(path / "theirs", path / "ours", to="sat", tensor_parallel=other, config=described(config, path))
        for ours, theirs in zip(states(path / "ours"), states(path / "expected"), strict=True):
            assert same(
                {name: tensor for name, tensor in ours.items() if "inv_freq" not in name},
                {name: tensor for name, tensor in theirs.items() if "inv_freq" not in name},
            )
        return
    loaded = load_model(path / "theirs", config=described(config, path))
    convert(path / "theirs", path / "folder", to="folder", config=described(config, path))
    again = load_model(path / "folder")
    assert same(dict(loaded.state_dict()), dict(again.state_dict()))
    if other % degree:
        with pytest.raises(ModelError, match=r"scales a row|do not pack"):
            convert(path / "folder", path / "ours", to="sat", tensor_parallel=other)
    else:
        convert(path / "folder", path / "ours", to="sat", tensor_parallel=other)
        split = load_model(path / "ours", config=described(config, path))
        tokens = torch.arange(min(8, config.vocab_size))[None]
        zeros = torch.zeros_like(tokens)
        expected = again(tokens, tokens, zeros, zeros)
        assert (split(tokens, tokens, zeros, zeros) - expected).abs().max() < 1e-4


def test_latest_with_a_newline_other_rotary_keys_and_training_states(tmp_path: Path) -> None:
    tensors = random_tensors(TINY)
    extra = {
        "iteration": 7,
        "args": argparse.Namespace(lr=0.1, name="x"),
        "numpy_rng_state": np.random.RandomState(0).get_state(),
        "random_rng_state": random.getstate(),
        "torch_rng_state": torch.get_rng_state(),
        "lr_scheduler": {"start_lr": np.float64(0.1)},
    }
    write_official(
        tmp_path / "a",
        tensors,
        TINY,
        2,
        latest="7\n",
        rotary_key="mixins.rotary-embedding.rotary_emb.inv_freq",
        extra=extra,
    )
    assert same(read_sat(tmp_path / "a", described(TINY, tmp_path)), tensors)


def test_weights_saved_as_views_parameters_or_without_order(tmp_path: Path) -> None:
    tensors = random_tensors(TINY)
    flat = torch.cat([tensor.view(-1) for tensor in tensors.values()])
    module: dict[str, Any] = {}
    start = 0
    for name, tensor in reversed(tensors.items()):
        start = sum(t.numel() for t in list(tensors.values())[: list(tensors).index(name)])
        module[f"transformer.{name}"] = flat[start : start + tensor.numel()].view(tensor.shape)
    weight = tensors["layers.1.attention.dense.weight"]
    module["transformer.layers.1.attention.dense.weight"] = weight.t().contiguous().t()
    module["transformer.layers.1.attention.dense.bias"] = torch.nn.Parameter(tensors["layers.1.attention.dense.bias"])
    (tmp_path / "7").mkdir()
    torch.save({"module": module}, tmp_path / "7" / "mp_rank_00_model_states.pt")
    (tmp_path / "latest").write_text("7")
    assert same(read_sat(tmp_path, described(TINY, tmp_path)), tensors)


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


def test_a_rank_reads_only_the_pieces_it_is_made_of() -> None:
    ranks = open_sat(CHECKPOINTS / "tp4", FIXTURE_CONFIG).ranks
    read: list[tuple[int, str]] = []

    class Watched:
        def __init__(self, number: int) -> None:
            self.number, self.infos = number, ranks[number].infos

        def read(self, name: str) -> torch.Tensor:
            read.append((self.number, name))
            return ranks[self.number].read(name)

    source = Rank([Watched(n) for n in range(4)], 1, 2)
    source.read("layers.0.mlp.dense_h_to_4h.weight")
    assert {number for number, _ in read} == {2, 3}
    assert Whole(ranks).infos["layers.0.mlp.dense_h_to_4h.weight"].shape == (336, 64)
