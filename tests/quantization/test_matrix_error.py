"""What quantising loses, against FP64 and by hand."""

from __future__ import annotations

import statistics
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from glm130b.model import InMemory, Scheme
from glm130b.quantization import MatrixError, Quantized, dequantize, errors_by_kind, matrix_error, quantize_rows


@given(
    st.integers(1, 9),
    st.integers(1, 5).map(lambda n: 8 * n),
    st.sampled_from([8, 4]),
    st.sampled_from([1, 2, 4]),
    st.sampled_from([torch.float32, torch.float16, torch.bfloat16]),
    st.integers(1, 200),
    st.integers(0, 2**31),
)
def test_errors_are_those_of_fp64(
    rows: int, columns: int, bits: Any, scales: int, dtype: torch.dtype, block_values: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(rows, columns, generator=generator)
    weight[torch.rand(rows, generator=generator) < 0.2] = 0
    weight = weight.to(dtype)
    integers, scale = quantize_rows(weight, bits, scales)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("glm130b.quantization.absmax._BLOCK_VALUES", block_values)
        found = matrix_error(weight, integers, scale, bits)
    exact = weight.double()
    lost, there = (dequantize(integers, scale, bits).double() - exact).norm(dim=1), exact.norm(dim=1)
    by_row = torch.where(there > 0, lost / there, 0.0)
    assert found.relative == pytest.approx(float(lost.norm() / there.norm()) if there.any() else 0.0, rel=1e-5)
    assert found.worst_row == pytest.approx(float(by_row.max()), rel=1e-5)
    assert float(by_row[found.row]) == pytest.approx(float(by_row.max()), rel=1e-5)


def test_gaussian_weights_lose_what_the_null_model_says() -> None:
    """Absmax INT4 of independent normal values: 0.140 of the norm at 768 columns, 0.117 in groups of 128."""
    weight = torch.randn(512, 768, generator=torch.Generator().manual_seed(0))
    assert matrix_error(weight, *quantize_rows(weight, 4), 4).relative == pytest.approx(0.140, abs=0.002)
    assert matrix_error(weight, *quantize_rows(weight, 4, 6), 4).relative == pytest.approx(0.117, abs=0.002)


def test_errors_are_told_while_weights_are_read() -> None:
    names = [f"layers.{n}.mlp.dense_4h_to_h.weight" for n in range(3)]
    tensors = {name: torch.randn(4, 8) for name in names} | {"word_embeddings.weight": torch.randn(5, 8)}
    told: dict[str, MatrixError] = {}
    ours = Quantized(InMemory(tensors), Scheme(4, output_bits=8), told.__setitem__)
    for name in ours.infos:
        ours.read(name)
    expected = {name: matrix_error(tensors[name], *quantize_rows(tensors[name], 4), 4) for name in names}
    embedding = tensors["word_embeddings.weight"]
    assert told == expected | {"output.weight": matrix_error(embedding, *quantize_rows(embedding, 8), 8)}


def test_a_line_for_each_kind() -> None:
    errors = {
        "layers.0.attention.dense.weight": MatrixError(0.1, 0.5, 3),
        "layers.0.mlp.dense_4h_to_h.weight": MatrixError(0.7, 0.9, 1),
        "layers.1.attention.dense.weight": MatrixError(0.3, 0.4, 2),
        "layers.2.attention.dense.weight": MatrixError(0.2, 0.45, 2),
        "output.weight": MatrixError(0.01, 0.02, 0),
    }
    dense, second, output = errors_by_kind(errors)
    assert (dense.kind, dense.count, dense.median) == ("attention.dense", 3, statistics.median([0.1, 0.2, 0.3]))
    assert (dense.worst, dense.worst_name, dense.worst_row) == (0.3, "layers.1.attention.dense.weight", 0.5)
    assert (second.kind, second.count, second.worst) == ("mlp.dense_4h_to_h", 1, 0.7)
    assert (output.kind, output.count) == ("output", 1)
