"""Groups of columns, quantised outputs, and what a scheme refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from glm130b.errors import ModelError
from glm130b.model import OUTPUT, InMemory, Scheme, TensorInfo
from glm130b.model.scheme import scheme_from_json, scheme_to_json
from glm130b.quantization import Quantized, dequantize, pack_int4, quantize_rows

BITS = st.sampled_from([8, 4])
DENSE, SECOND = "layers.0.attention.dense.weight", "layers.0.mlp.dense_4h_to_h.weight"
EMBEDDING = "word_embeddings.weight"


def half(value: float) -> float:
    """The nearest FP16 number."""
    return float(np.float16(value))


def slowly(weight: np.ndarray, bits: int, width: int) -> tuple[list[list[int]], list[list[float]], list[list[float]]]:
    """Integers, scales and dequantised values, one after the other in FP64, rounded to FP16 where the format has it."""
    largest = {8: 127, 4: 7}[bits]
    integers, scales, values = [], [], []
    for row in weight:
        integers.append([])
        scales.append([])
        values.append([])
        for start in range(0, len(row), width):
            stretch = [half(value) for value in row[start : start + width]]
            scale = half(max(abs(value) for value in stretch) / largest)
            scales[-1].append(scale)
            for value in stretch:
                integer = round(half(value / scale)) if scale else 0
                integer = max(-largest, min(largest, integer))
                integers[-1].append(integer)
                values[-1].append(half(integer * scale))
    return integers, scales, values


@st.composite
def matrices(draw: st.DrawFn) -> tuple[np.ndarray, int]:
    """A matrix and a width that divides its columns; zeros, spikes and values that are subnormal in FP16 among them."""
    width = 2 * draw(st.integers(1, 6))
    shape = draw(st.integers(1, 4)), width * draw(st.integers(1, 4))
    size = draw(st.sampled_from([1e-6, 1e-3, 1.0, 6e4]))
    values = draw(hnp.arrays(np.float64, shape, elements=st.floats(-1, 1), fill=st.just(0.0)))
    return (values * size).astype(np.float32), width


@given(matrices(), BITS, st.integers(1, 60))
def test_groups_are_what_a_slow_loop_makes(drawn: tuple[np.ndarray, int], bits: Any, block_values: int) -> None:
    weight, width = drawn
    rows, columns = weight.shape
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("glm130b.quantization.absmax._BLOCK_VALUES", block_values)
        integers, scale = quantize_rows(torch.from_numpy(weight), bits, columns // width)
    expected, scales, values = slowly(weight, bits, width)
    wide = torch.tensor(expected, dtype=torch.int8)
    assert torch.equal(integers, pack_int4(wide) if bits == 4 else wide)
    assert scale.dtype == torch.float16
    assert scale.shape == ((rows,) if width == columns else (rows, columns // width))
    assert scale.view(rows, -1).tolist() == scales
    assert dequantize(integers, scale, bits).tolist() == values


@pytest.mark.parametrize("scheme", [Scheme(8, 32), Scheme(4, 64), Scheme(4, 128), Scheme(4), Scheme(8, None, 2)])
@pytest.mark.parametrize("output_bits", [None, 8, 4])
def test_announced_and_read(scheme: Scheme, output_bits: Any) -> None:
    scheme = Scheme(scheme.bits, scheme.group_size, scheme.scale_shards, output_bits)
    tensors = {EMBEDDING: torch.randn(6, 256), DENSE: torch.randn(256, 256), "final_layernorm.bias": torch.randn(256)}
    ours = Quantized(InMemory(tensors), scheme)
    for name, info in ours.infos.items():
        assert TensorInfo.of(ours.read(name)) == info, name
    scales = 256 // scheme.group_size if scheme.group_size else scheme.scale_shards
    integers, scale = quantize_rows(tensors[DENSE], scheme.bits, scales)
    assert torch.equal(ours.read(DENSE), integers)
    assert torch.equal(ours.read(f"{DENSE}_scale"), scale)
    assert torch.equal(ours.read(EMBEDDING), tensors[EMBEDDING])
    assert (OUTPUT in ours.infos) == (output_bits is not None)
    if output_bits is not None:
        integers, scale = quantize_rows(tensors[EMBEDDING], output_bits)
        assert torch.equal(ours.read(OUTPUT), integers)
        assert torch.equal(ours.read(f"{OUTPUT}_scale"), scale)
        assert list(ours.matrices.items()) == [(DENSE, scheme.bits), (OUTPUT, output_bits)]


def test_groups_that_do_not_divide_are_refused_with_those_that_do() -> None:
    source = InMemory({DENSE: torch.ones(2, 256), SECOND: torch.ones(2, 192)})
    with pytest.raises(
        ModelError, match=r"dense_4h_to_h.weight cannot .* 192 columns do not divide into groups of 128"
    ) as e:
        Quantized(source, Scheme(4, 128))
    assert e.value.next_step == "Use groups of 64 or 32 columns, or a scale a row."
    source = InMemory({DENSE: torch.ones(2, 256), SECOND: torch.ones(2, 48)})
    with pytest.raises(ModelError, match="48 columns do not divide into groups of 32") as e:
        Quantized(source, Scheme(4, 32))
    assert e.value.next_step == "Use a scale a row."
    with pytest.raises(ModelError, match="48 columns do not divide among 5 ranks"):
        Quantized(InMemory({SECOND: torch.ones(2, 48)}), Scheme(8, scale_shards=5))
    with pytest.raises(ModelError, match="6 columns do not pack in pairs on 2 ranks"):
        Quantized(InMemory({SECOND: torch.ones(2, 6)}), Scheme(4, scale_shards=2))
    with pytest.raises(ValueError, match="exclude one another"):
        Scheme(4, 32, 2)


def test_weights_that_do_not_fit_are_named() -> None:
    ours = Quantized(InMemory({EMBEDDING: torch.full((2, 4), 1e6)}), Scheme(8, output_bits=8))
    with pytest.raises(
        ModelError, match=r"output.weight cannot be quantised to 8 bits: weights are not finite in FP16"
    ):
        ours.read(OUTPUT)


@given(BITS, st.sampled_from([None, 32, 64, 128]), st.integers(1, 9), st.sampled_from([None, 8, 4]))
def test_schemes_are_written_and_read(bits: Any, group_size: int | None, shards: int, output_bits: Any) -> None:
    scheme = Scheme(bits, group_size, 1 if group_size else shards, output_bits)
    assert scheme_from_json(scheme_to_json(scheme), Path("x")) == scheme


def test_what_earlier_and_later_versions_write() -> None:
    place = Path("model")
    assert scheme_from_json(None, place) is None
    earlier = {"bits": 4, "granularity": "row", "symmetric": True}
    assert scheme_from_json(earlier, place) == Scheme(4)
    assert scheme_from_json({**earlier, "scale_shards": 8}, place) == Scheme(4, scale_shards=8)
    for change, message in (
        ({"layout_version": 3}, "model is quantised in layout 3, and this version reads layouts up to 2"),
        ({"bits": 3}, "quantised to 3 bits"),
        ({"output_bits": 6}, "quantised to 6 bits"),
        ({"group_size": 48}, "in groups of 48 columns"),
        ({"symmetric": False}, "asymmetrically"),
    ):
        with pytest.raises(ModelError, match=message) as caught:
            scheme_from_json({**earlier, **change}, place)
        assert caught.value.next_step


@pytest.mark.parametrize(
    ("scheme", "text"),
    [
        (Scheme(8), "INT8 by rows"),
        (Scheme(4, scale_shards=8), "INT4 by rows with scales for 8 ranks"),
        (Scheme(4, 64, output_bits=8), "INT4 in groups of 64, output INT8"),
    ],
)
def test_schemes_in_words(scheme: Scheme, text: str) -> None:
    assert str(scheme) == text
