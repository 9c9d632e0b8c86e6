"""Official checkpoints read and written, against the reference files and against ones made slowly."""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from official import described, random_tensors, write_official
from support import FIXTURE_CONFIG, FIXTURES, TINY

from glm130b.config import ModelConfig
from glm130b.errors import ModelError
from glm130b.interop import convert, load_model, open_model, open_sat, read_sat
from glm130b.interop.sharding import Rank, Whole
from glm130b.model import Scheme
from glm130b.quantization import dequantize, is_quantizable

pytestmark = pytest.mark.slow

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
        bits: Any = {"int8": 8, "int4": 4}.get(name.partition("-")[2])
        assert opened.scheme == (Scheme(bits, scale_shards=opened.degree) if bits else None)
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
    assert opened.scheme == (Scheme(bits, scale_shards=degree) if bits else None)
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
        ours, theirs = split.state_dict(), again.state_dict()
        for name in filter(is_quantizable, theirs):
            one, other_one = (dequantize(state[name], state[f"{name}_scale"], bits) for state in (ours, theirs))
            assert torch.equal(one, other_one)
        tokens = torch.arange(min(8, config.vocab_size))[None]
        zeros = torch.zeros_like(tokens)
        expected = again(tokens, tokens, zeros, zeros)
        assert (split(tokens, tokens, zeros, zeros) - expected).abs().max() < 1e-3  # kernels differ


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
