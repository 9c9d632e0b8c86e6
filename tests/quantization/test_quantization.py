"""Quantised weights against the authors' integers, scales and logits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from support import FIXTURES, branches, fixture_config, load_case

from glm130b.errors import ModelError
from glm130b.interop import read_sat
from glm130b.model import GLM
from glm130b.model.storage import assign_tensors
from glm130b.quantization import (
    dequantize,
    is_quantizable,
    pack_int4,
    quantize_rows,
    quantize_tensors,
    unpack_int4,
    use_quantized_linears,
)

BITS: list[Any] = [8, 4]


@pytest.mark.parametrize("bits", BITS)
def test_integers_and_scales_of_the_official_converter(bits: Any) -> None:
    ours = dict(quantize_tensors(read_sat(FIXTURES / "checkpoints" / "tp1").items(), bits))
    theirs = read_sat(FIXTURES / "checkpoints" / f"tp1-int{bits}")
    assert ours.keys() == theirs.keys()
    assert sum(tensor.dtype == torch.int8 for tensor in theirs.values()) == 12
    for name, tensor in theirs.items():
        assert torch.equal(ours[name], tensor), name


@pytest.mark.parametrize("bits", BITS)
def test_dequantised_weights(bits: Any) -> None:
    stored = read_sat(FIXTURES / "checkpoints" / f"tp1-int{bits}")
    with np.load(FIXTURES / "quant" / f"int{bits}.npz") as expected:
        keys = [key for key in expected if key.startswith("dequant.")]
        assert len(keys) == 4
        for key in keys:
            name = key.removeprefix("dequant.transformer.")
            assert np.array_equal(dequantize(stored[name], stored[f"{name}_scale"], bits).numpy(), expected[key])


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("name", ["infill_mask", "gmask_end", "mc_multi_mask"])
def test_logits_of_the_quantised_network(bits: Any, name: str) -> None:
    with torch.device("meta"):
        model = GLM(fixture_config())
        use_quantized_linears(model, bits)
    assign_tensors(model, read_sat(FIXTURES / "checkpoints" / f"tp1-int{bits}").items(), "quantised")
    case = load_case(name)
    sample, branch = branches(case["attention_mask"], case["valid"])
    with torch.no_grad():
        logits = model(torch.from_numpy(case["tokens"]), torch.from_numpy(case["position_ids"]), sample, branch)
    with np.load(FIXTURES / "quant" / f"int{bits}.npz") as expected:
        difference = np.abs(logits.numpy() - expected[f"{name}.logits_fp32"])[case["valid"]]
    assert difference.max() < 1e-4


def test_packing_of_all_nibble_pairs() -> None:
    with np.load(FIXTURES / "quant" / "packing.npz") as content:
        values, packed = torch.from_numpy(content["int4_values"]), torch.from_numpy(content["int4_packed"])
        scale = torch.from_numpy(content["scale"])
        assert torch.equal(pack_int4(values), packed)
        assert torch.equal(unpack_int4(packed), values)
        assert np.array_equal(dequantize(packed, scale, 4).numpy(), content["int4_dequant"], equal_nan=True)
        wide = torch.from_numpy(content["int8_values"])
        assert np.array_equal(dequantize(wide, scale, 8).numpy(), content["int8_dequant"], equal_nan=True)


@given(
    hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 5), st.integers(1, 6).map(lambda n: 2 * n)),
        elements=st.floats(-100, 100, width=32),
    ),
    st.sampled_from([8, 4]),
)
def test_error_is_at_most_half_a_step(weight: np.ndarray, bits: Any) -> None:
    tensor = torch.from_numpy(weight)
    integers, scale = quantize_rows(tensor, bits)
    expanded = dequantize(integers, scale, bits).double()
    half_a_step = scale.double()[:, None] / 2
    rounding = tensor.half().double().abs() * 2**-9 + 2**-13  # FP16 division and FP16 product
    assert ((expanded - tensor.half().double()).abs() <= half_a_step + rounding).all()


def test_zero_rows_and_bad_weights() -> None:
    integers, scale = quantize_rows(torch.tensor([[0.0, 0.0], [1.0, -2.0]]), 8)
    assert integers.tolist() == [[0, 0], [64, -127]]
    assert scale[0] == 0
    with pytest.raises(ValueError, match="not finite in FP16"):
        quantize_rows(torch.tensor([[1e6, 0.0]]), 8)
    with pytest.raises(ModelError, match=r"layers.0.attention.dense.weight cannot be quantised to 4 bits"):
        list(quantize_tensors([("layers.0.attention.dense.weight", torch.ones(2, 3))], 4))


def test_only_the_linear_maps_of_blocks_are_quantised() -> None:
    assert is_quantizable("layers.3.mlp.dense_4h_to_h.weight")
    for name in ("word_embeddings.weight", "layers.3.mlp.dense_4h_to_h.bias", "layers.3.input_layernorm.weight"):
        assert not is_quantizable(name)


def test_unreadable_official_checkpoints(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="latest is missing"):
        read_sat(tmp_path)
    (tmp_path / "latest").write_text("7\n")
    with pytest.raises(ModelError, match="holds 0 rank files"):
        read_sat(tmp_path)
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "mp_rank_00_model_states.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(ModelError, match="is not a checkpoint of tensors"):
        read_sat(tmp_path)


class Payload:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("ran"),))


def test_pickled_code_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "latest").write_text("7")
    (tmp_path / "7").mkdir()
    torch.save({"module": Payload()}, tmp_path / "7" / "mp_rank_00_model_states.pt")
    with pytest.raises(ModelError, match="is not a checkpoint of tensors"):
        read_sat(tmp_path)
    assert not (tmp_path / "ran").exists()
