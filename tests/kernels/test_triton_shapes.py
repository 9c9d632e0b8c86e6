"""All remainders of shapes, found by hypothesis."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kernels.test_triton_products import DEVICE, error, exact, weights  # imports Triton the right way

from glm130b.kernels.gpu.gemm import gemm
from glm130b.kernels.gpu.gemv import gemv
from glm130b.kernels.gpu.tables import GemvConfig


@st.composite
def shapes(draw: st.DrawFn) -> tuple[int, int, int, int | None]:
    """Outputs, columns, bits and groups."""
    bits = draw(st.sampled_from([4, 8]))
    groups = draw(st.sampled_from([None, 1, 2, 5]))
    units = draw(st.integers(1, 4)) * (groups or draw(st.integers(1, 5)))
    return draw(st.integers(1, 40)), units * 128 // bits, bits, groups


@pytest.mark.slow
@given(shapes(), st.integers(1, 2), st.sampled_from([2, 8, 16]), st.sampled_from([1, 2, 8]), st.integers(1, 3))
@settings(max_examples=25, deadline=None)
def test_one_or_two_rows(
    shape: tuple[int, int, int, int | None], rows: int, block_n: int, block_units: int, split: int
) -> None:
    outputs, columns, bits, groups = shape
    integers, weight, scale = weights(outputs, columns, bits, groups, seed=outputs)
    x, bias = torch.randn(rows, columns, device=DEVICE), torch.randn(outputs, device=DEVICE)
    found = gemv(x, weight, scale, bits, bias, config=GemvConfig(block_n, block_units, 1, split))
    assert error(found, exact(x, integers, scale, bias)) < 1e-5


@pytest.mark.slow
@given(shapes(), st.integers(3, 70))
@settings(max_examples=25, deadline=None)
def test_more_rows(shape: tuple[int, int, int, int | None], rows: int) -> None:
    outputs, columns, bits, groups = shape
    integers, weight, scale = weights(outputs, columns, bits, groups, seed=outputs)
    x = torch.randn(rows, columns, device=DEVICE).half()
    assert error(gemm(x, weight, scale, bits), exact(x, integers, scale)) < 1e-3
