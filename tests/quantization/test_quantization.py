"""Quantised weights against the authors' integers, scales and logits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from support import FIXTURE_CONFIG, FIXTURES, branches, load_case

from glm130b.errors import ModelError
from glm130b.interop import load_model, read_sat
from glm130b.model import GLM, InMemory, Scheme, TensorInfo
from glm130b.quantization import (
    Quantized,
    QuantizedLinear,
    dequantize,
    is_quantizable,
    pack_int4,
    quantize_rows,
    unpack_int4,
)

BITS: list[Any] = [8, 4]


@pytest.mark.parametrize("bits", BITS)
def test_integers_and_scales_of_the_official_converter(bits: Any) -> None:
    source = InMemory(read_sat(FIXTURES / "checkpoints" / "tp1", FIXTURE_CONFIG))
    for degree in (1, 2):
        ours = Quantized(source, Scheme(bits, scale_shards=degree))
        theirs = read_sat(FIXTURES / "checkpoints" / f"tp{degree}-int{bits}", FIXTURE_CONFIG)
        assert ours.infos.keys() == theirs.keys()
        assert sum(tensor.dtype == torch.int8 for tensor in theirs.values()) == 12
        for name, tensor in theirs.items():
            assert ours.infos[name] == TensorInfo.of(tensor), name
            assert torch.equal(ours.read(name), tensor), name


def test_scales_can_be_read_without_their_weight() -> None:
    """As when a conversion is taken up again between the two."""
    source = InMemory({"layers.0.mlp.dense_4h_to_h.weight": torch.randn(6, 8)})
    ours = Quantized(source, Scheme(4))
    first = ours.read("layers.0.mlp.dense_4h_to_h.weight_scale")
    ours.read("layers.0.mlp.dense_4h_to_h.weight")
    assert torch.equal(first, ours.read("layers.0.mlp.dense_4h_to_h.weight_scale"))


@pytest.mark.parametrize("bits", BITS)
def test_dequantised_weights(bits: Any) -> None:
    stored = read_sat(FIXTURES / "checkpoints" / f"tp1-int{bits}", FIXTURE_CONFIG)
    with np.load(FIXTURES / "quant" / f"int{bits}.npz") as expected:
        keys = [key for key in expected if key.startswith("dequant.")]
        assert len(keys) == 4
        for key in keys:
            name = key.removeprefix("dequant.transformer.")
            assert np.array_equal(dequantize(stored[name], stored[f"{name}_scale"], bits).numpy(), expected[key])


def expand(model: GLM) -> GLM:
    """The same with plain linear maps, of weights expanded to FP16 as the authors' code does for every product."""
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, QuantizedLinear):
                assert child.bias is not None
                weight = dequantize(child.weight, child.weight_scale, child.bits).to(child.bias.dtype)
                plain = torch.nn.Linear(*reversed(weight.shape), device="meta")
                plain.load_state_dict({"weight": weight, "bias": child.bias}, assign=True)
                setattr(module, name, plain)
    return model


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize(("degree", "kind"), [(1, "logits_fp32"), (2, "tp2_logits_fp32"), (1, "logits_fp16")])
def test_logits_of_the_quantised_network(bits: Any, degree: int, kind: str) -> None:
    """To 1e-4 with weights rounded to FP16 once expanded, as theirs; our kernels multiply by what is stored."""
    with np.load(FIXTURES / "quant" / f"int{bits}.npz") as content:
        expected = {key.removesuffix(f".{kind}"): content[key] for key in content if key.endswith(f".{kind}")}
    assert expected
    dtype = torch.float16 if kind == "logits_fp16" else torch.float32
    path = FIXTURES / "checkpoints" / f"tp{degree}-int{bits}"
    quantized = load_model(path, config=FIXTURE_CONFIG, dtype=dtype)
    expanded = expand(load_model(path, config=FIXTURE_CONFIG, dtype=dtype))
    for name, logits in expected.items():
        case = load_case(name)
        sample, branch = branches(case["attention_mask"], case["valid"])
        for model in (quantized, expanded):
            with torch.no_grad():
                ours = model(torch.from_numpy(case["tokens"]), torch.from_numpy(case["position_ids"]), sample, branch)
            difference = np.abs(ours.float().numpy() - logits.astype(np.float32))[case["valid"]]
            if kind == "logits_fp16":
                assert difference.mean() < 0.02
                assert difference.max() < 0.25
            elif model is quantized:
                assert difference.mean() < 0.01
                assert difference.max() < 0.1
            else:
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
    hnp.arrays(np.float32, (5, 12), elements=st.floats(-100, 100, width=32)),
    st.sampled_from([8, 4]),
    st.sampled_from([1, 2, 3, 6]),
    st.integers(1, 100),
)
def test_blocks_and_shards_are_quantised_as_if_alone(
    weight: np.ndarray, bits: Any, shards: int, block_values: int
) -> None:
    tensor = torch.from_numpy(weight)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("glm130b.quantization.absmax._BLOCK_VALUES", block_values)
        integers, scale = quantize_rows(tensor, bits, shards)
    alone = [quantize_rows(part, bits) for part in tensor.chunk(shards, dim=1)]
    assert torch.equal(integers, torch.cat([found for found, _ in alone], dim=1))
    assert torch.equal(scale.view(5, shards), torch.stack([found for _, found in alone], dim=1))
    expanded = torch.cat([dequantize(*found, bits) for found in alone], dim=1)
    assert torch.equal(dequantize(integers, scale, bits), expanded)


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
        Quantized(InMemory({"layers.0.attention.dense.weight": torch.ones(2, 3)}), Scheme(4))


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("scales", [1, 3])
def test_the_product_is_that_of_integers_times_scales(bits: Any, scales: int) -> None:
    linear = QuantizedLinear(12, 10, bits, scales)
    linear.weight, linear.weight_scale = quantize_rows(torch.randn(10, 12), bits, scales)
    assert linear.bias is not None
    linear.bias.data.normal_()
    integers = unpack_int4(linear.weight) if bits == 4 else linear.weight
    by_scale = integers.double().view(10, scales, -1) * linear.weight_scale.double().view(10, scales, 1)
    x = torch.randn(2, 5, 12)
    product = x.double() @ by_scale.view(10, 12).T
    with torch.no_grad():
        assert torch.allclose(linear(x).double(), product + linear.bias.double(), atol=2e-3)
        linear.bias = None
        assert torch.allclose(linear(x).double(), product, atol=2e-3)


def test_only_the_linear_maps_of_blocks_are_quantised() -> None:
    assert is_quantizable("layers.3.mlp.dense_4h_to_h.weight")
    for name in ("word_embeddings.weight", "layers.3.mlp.dense_4h_to_h.bias", "layers.3.input_layernorm.weight"):
        assert not is_quantizable(name)
