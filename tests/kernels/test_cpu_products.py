"""The C kernels against float64 on the dequantised weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from bodies import BODIES, body
from hypothesis import example, given, settings
from hypothesis import strategies as st
from ranks import apart
from torch import Tensor

from glm130b import kernels
from glm130b.kernels.cpu import Map
from glm130b.kernels.plain import dequantize

NAMES = ["native", *(pytest.param(name, marks=pytest.mark.slow) for name in BODIES if name != "native")]


def weights(draws: torch.Generator, rows: int, columns: int, groups: int, bits: int, kind: str) -> Map:
    largest = 7 if bits == 4 else 127
    values = torch.randint(-largest, largest + 1, (rows, columns), generator=draws)
    if kind == "extreme":
        values = largest * (2 * torch.randint(0, 2, (rows, columns), generator=draws) - 1)
    if bits == 4:
        values = ((values[:, 0::2] & 15) << 4) | (values[:, 1::2] & 15)
    scale = (torch.rand(rows, groups, generator=draws) + 0.1).half() / largest
    stored = values.to(torch.uint8).view(torch.int8).contiguous()
    return Map(stored, scale.squeeze(1) if groups == 1 else scale, bits, torch.randn(rows, generator=draws))


def activations(draws: torch.Generator, batch: int, columns: int, kind: str) -> Tensor:
    x = torch.randn(batch, columns, generator=draws)
    if kind == "spiky":
        places = torch.randint(0, columns, (batch, 1), generator=draws)
        x.scatter_(1, places, 1e4)
    return 7 * x.sign() if kind == "extreme" else x


def relative_error(found: Tensor, x: Tensor, weight: Map) -> float:
    values = dequantize_exactly(weight)
    assert weight.bias is not None
    exact = x.double() @ values.T + weight.bias.double()
    return float(((found.double() - exact).norm(dim=1) / exact.norm(dim=1)).max())


def dequantize_exactly(weight: Map) -> Tensor:
    assert weight.scale is not None
    ones = dequantize(weight.weight, torch.ones_like(weight.scale), weight.bits).double()
    scale = weight.scale.double()
    scale = scale[:, None] if scale.dim() == 1 else scale
    return ones * scale.repeat_interleave(ones.shape[1] // scale.shape[1], dim=1)


@st.composite
def products(draw: Any) -> dict[str, Any]:
    """Any shape: blocks of 128 columns, 64 and 32 with rests, groups that fit them or do not, 1 to 40 rows."""
    bits, group = draw(st.sampled_from([4, 8])), draw(st.sampled_from([None, 32, 64, 128, 256, 384, 20]))
    if group is None:
        columns, groups = 2 * draw(st.integers(1, 400)), 1
    else:
        groups = draw(st.integers(1, 9))
        columns = group * groups
    return {
        "bits": bits,
        "columns": columns,
        "groups": groups,
        "rows": draw(st.integers(24, 90)),
        "batch": draw(st.one_of(st.integers(1, 6), st.sampled_from([15, 16, 17, 33, 40]))),
        "kind": draw(st.sampled_from(["random", "spiky", "extreme"])),
        "seed": draw(st.integers(0, 99)),
    }


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=150, deadline=None)
@given(shape=products())
@example({"bits": 4, "columns": 4096, "groups": 32, "rows": 300, "batch": 1, "kind": "spiky", "seed": 0})
@example({"bits": 8, "columns": 4096, "groups": 128, "rows": 300, "batch": 130, "kind": "extreme", "seed": 0})
def test_any_product_is_exact_to_a_ten_thousandth(name: str, shape: dict[str, Any]) -> None:
    draws = torch.Generator().manual_seed(shape["seed"])
    weight = weights(draws, shape["rows"], shape["columns"], shape["groups"], shape["bits"], shape["kind"])
    x = activations(draws, shape["batch"], shape["columns"], shape["kind"])
    found = body(name).linear(x, weight)
    assert relative_error(found, x, weight) < 1e-4


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("bits", [4, 8])
def test_ordinary_activations_are_far_more_exact_than_fp16(name: str, bits: int) -> None:
    draws = torch.Generator().manual_seed(0)
    weight = weights(draws, 200, 2048, 16, bits, "random")
    x = activations(draws, 20, 2048, "random")
    assert relative_error(body(name).linear(x, weight), x, weight) < 5e-5
    assert relative_error(body(name).linear(x[:1], weight), x[:1], weight) < 2e-5


@pytest.mark.parametrize("name", NAMES)
@apart
def test_threads_change_nothing(name: str) -> None:
    """In a process of its own: one that has used threads cannot be forked, as other tests do."""
    draws = torch.Generator().manual_seed(1)
    threads = torch.get_num_threads()
    for batch in (1, 3, 20):
        weight = weights(draws, 83, 640, 5, 4, "random")
        x = activations(draws, batch, 640, "random")
        found = []
        try:
            for count in (1, 2, 5):
                torch.set_num_threads(count)
                found.append(body(name).linear(x, weight))
        finally:
            torch.set_num_threads(threads)
        assert torch.equal(found[0], found[1])
        assert torch.equal(found[0], found[2])


@pytest.mark.parametrize("name", NAMES)
def test_values_that_are_not_finite_or_all_zero(name: str) -> None:
    draws = torch.Generator().manual_seed(2)
    weight = weights(draws, 30, 256, 1, 4, "random")
    assert weight.bias is not None
    for batch in (1, 18):
        x = torch.zeros(batch, 256)
        assert torch.equal(body(name).linear(x, weight), weight.bias.expand(batch, -1))
        for value in (float("nan"), float("inf"), -float("inf")):
            x[0, 200] = value
            found = body(name).linear(x, weight)
            assert found[0].isnan().all()
            assert torch.equal(found[1:], weight.bias.expand(batch - 1, -1))
        tiny = torch.full((batch, 256), 1e-38)
        assert body(name).linear(tiny, weight).isfinite().all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@settings(max_examples=40, deadline=None)
@given(rows=st.integers(1, 40), columns=st.integers(1, 200), batch=st.integers(1, 9))
def test_weights_that_are_not_quantised(name: str, dtype: torch.dtype, rows: int, columns: int, batch: int) -> None:
    draws = torch.Generator().manual_seed(rows)
    weight = torch.randn(rows, columns, generator=draws).to(dtype)
    weight[0, 0] = 6e-8  # a subnormal of FP16
    x, bias = torch.randn(batch, columns, generator=draws), torch.randn(rows, generator=draws)
    exact = x.double() @ weight.double().T + bias.double()
    torch.testing.assert_close(body(name).linear(x, Map(weight, bias=bias)).double(), exact, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("shape", [(256,), (3, 256), (2, 5, 256), (0, 256)])
def test_public_linear(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    draws = torch.Generator().manual_seed(3)
    weight = weights(draws, 48, 256, 2, 4, "random")
    assert weight.scale is not None
    x = torch.randn(shape, generator=draws).to(dtype)
    with torch.no_grad():
        found = kernels.linear(x, weight.weight, weight.scale, 4, weight.bias)
        bare = kernels.linear(x, weight.weight, weight.scale, 4)
    assert found.dtype == dtype
    assert found.shape == (*shape[:-1], 48)
    assert weight.bias is not None
    exact = x.double() @ dequantize_exactly(weight).T
    tolerance = {torch.float32: 1e-4, torch.float64: 1e-4, torch.float16: 4e-3, torch.bfloat16: 3e-2}[dtype]
    torch.testing.assert_close(bare.double(), exact, rtol=tolerance, atol=tolerance * 10)
    torch.testing.assert_close(found.double(), exact + weight.bias.double(), rtol=tolerance, atol=tolerance * 10)


def test_gradients_pass_where_they_are_wanted() -> None:
    weight = weights(torch.Generator().manual_seed(4), 8, 64, 1, 8, "random")
    assert weight.scale is not None
    x = torch.randn(2, 64, requires_grad=True)
    kernels.linear(x, weight.weight, weight.scale, 8).sum().backward()
    torch.testing.assert_close(x.grad, dequantize(weight.weight, weight.scale, 8).float().sum(0).expand(2, -1))
