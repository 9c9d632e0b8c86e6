"""The GPU's products against FP64; in Triton's interpreter where there is no GPU."""

from __future__ import annotations

import os
import warnings

import pytest
import torch
from torch import Tensor

os.environ.setdefault("TRITON_INTERPRET", "0" if torch.cuda.is_available() else "1")
pytest.importorskip("triton")

from glm130b.kernels import dequantize, gpu
from glm130b.kernels.gpu.expand import expand
from glm130b.kernels.gpu.gemm import gemm
from glm130b.kernels.gpu.gemv import gemv
from glm130b.kernels.gpu.norm import AddNorm
from glm130b.kernels.gpu.tables import (
    GemmConfig,
    GemvConfig,
    attention_splits,
    gemm_config,
    gemm_max_rows,
    gemv_config,
)

pytestmark = pytest.mark.slow

ON_GPU = torch.cuda.is_available()
DEVICE = "cuda" if ON_GPU else "cpu"
HALVES = [torch.float16, torch.bfloat16] if ON_GPU else [torch.float16]  # the interpreter lacks products of BF16
ROUNDING = {torch.float32: 1e-5, torch.float16: 1e-3, torch.bfloat16: 8e-3}


def weights(rows: int, columns: int, bits: int, groups: int | None, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Integers as they are, packed as the layout has them, and scales."""
    generator = torch.Generator().manual_seed(seed)
    largest = 7 if bits == 4 else 127
    integers = torch.randint(-largest, largest + 1, (rows, columns), generator=generator)
    scale = (torch.rand((rows, groups) if groups else (rows,), generator=generator) + 0.1).half()
    return integers.to(DEVICE), packed(integers, bits).to(DEVICE), scale.to(DEVICE)


def packed(integers: Tensor, bits: int) -> Tensor:
    """Byte by byte: the even column in the high nibble."""
    if bits == 8:
        return integers.to(torch.int8)
    pairs = [zip(row[::2], row[1::2], strict=True) for row in integers.tolist()]
    bytes_ = [[high % 16 * 16 + low % 16 for high, low in row] for row in pairs]
    return torch.tensor(bytes_, dtype=torch.uint8).view(torch.int8)


def exact(x: Tensor, integers: Tensor, scale: Tensor, bias: Tensor | None = None) -> Tensor:
    """In FP64, scale by scale."""
    columns = integers.shape[1]
    scales = scale.double().view(len(scale), -1)
    whole = scales.repeat_interleave(columns // scales.shape[1], dim=1)
    out = x.double() @ (integers.double() * whole).T
    return out if bias is None else out + bias.double()


def error(found: Tensor, expected: Tensor) -> float:
    return float((found.double() - expected).norm() / expected.norm())


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("groups", [None, 3])
@pytest.mark.parametrize("rows", [1, 2])
def test_a_few_rows(bits: int, groups: int | None, rows: int) -> None:
    integers, weight, scale = weights(37, 384, bits, groups)
    x, bias = torch.randn(rows, 384, device=DEVICE), torch.randn(37, device=DEVICE)
    found = gemv(x, weight, scale, bits, bias, config=GemvConfig(16, 8, 1))
    assert error(found, exact(x, integers, scale, bias)) < 1e-5


@pytest.mark.parametrize("dtype", HALVES)
def test_halves_are_rounded_once(dtype: torch.dtype) -> None:
    integers, weight, scale = weights(16, 256, 4, None)
    x = torch.randn(1, 256, device=DEVICE).to(dtype)
    expected = exact(x, integers, scale)
    found = gemv(x, weight, scale, 4, config=GemvConfig(16, 8, 1))
    assert found.dtype == dtype
    spacing = torch.finfo(dtype).eps * expected.abs()
    assert bool(((found.double() - expected).abs() <= 0.51 * spacing + 1e-4).all())


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("value", [-7, 7])
def test_extreme_weights_and_a_spike(bits: int, value: int) -> None:
    """All weights at one end, and inputs of 1e4 and of 1e-7 among others."""
    integers = torch.full((16, 256), value if bits == 4 else value // 7 * 127, device=DEVICE)
    weight, scale = packed(integers, bits).to(DEVICE), torch.full((16, 2), 0.37, device=DEVICE).half()
    x = torch.randn(2, 256, device=DEVICE)
    x[0, 100], x[1] = 1e4, x[1] * 1e-7
    expected = exact(x, integers, scale)
    found = gemv(x, weight, scale, bits, config=GemvConfig(16, 4, 1))
    for row in range(2):
        assert error(found[row], expected[row]) < 1e-5


def test_all_integers_in_all_places() -> None:
    """Each of the 16 nibbles and 256 bytes in each place of a word is taken for what it is."""
    for bits, lowest in ((4, -8), (8, -128)):
        places, count = 32 // bits, 1 << bits
        integers = torch.arange(lowest, -lowest, device=DEVICE)[:, None].expand(count, 128 // bits).contiguous()
        scale = torch.ones(count, device=DEVICE).half()
        for place in range(places):
            x = torch.zeros(1, 128 // bits, device=DEVICE)
            x[0, place] = 1.0
            found = gemv(x, packed(integers, bits).to(DEVICE), scale, bits, config=GemvConfig(count, 1, 1))
            assert torch.equal(found[0], integers[:, 0].float())


@pytest.mark.parametrize("split", [2, 3])
def test_columns_in_stretches_give_the_same_at_every_call(split: int) -> None:
    integers, weight, scale = weights(20, 1120, 4, 5)
    x, bias = torch.randn(2, 1120, device=DEVICE), torch.randn(20, device=DEVICE)
    config = GemvConfig(16, 8, 1, split)
    found = gemv(x, weight, scale, 4, bias, config=config)
    assert error(found, exact(x, integers, scale, bias)) < 1e-5
    assert torch.equal(found, gemv(x, weight, scale, 4, bias, config=config))


def test_geglu_at_the_end() -> None:
    integers, weight, scale = weights(22, 64, 4, None)
    x, bias = torch.randn(2, 64, device=DEVICE), torch.randn(22, device=DEVICE)
    value, gate = exact(x, integers, scale, bias).chunk(2, dim=1)
    found = gemv(x, weight, scale, 4, bias, geglu=True, config=GemvConfig(16, 2, 1))
    assert error(found, value * torch.nn.functional.gelu(gate)) < 1e-5
    with pytest.raises(ValueError, match="whole sums"):
        gemv(x, weight, scale, 4, bias, geglu=True, config=GemvConfig(16, 2, 1, split=2))


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("split", [1, 3])
@pytest.mark.parametrize("biased", [False, True])
def test_the_last_program_adds_the_residual_and_normalises(rows: int, split: int, biased: bool) -> None:
    """Also where the outputs are no power of two, and again with the counter as the first call left it."""
    integers, weight, scale = weights(44, 384, 4, 3)
    x, bias = torch.randn(rows, 384, device=DEVICE), torch.randn(44, device=DEVICE) if biased else None
    norm = AddNorm(
        torch.randn(rows, 44, device=DEVICE), torch.randn(44, device=DEVICE), torch.randn(44, device=DEVICE), 1.7, 1e-5
    )
    expected = normalised(exact(x, integers, scale, bias), norm)
    config = GemvConfig(8, 4, 1, split)
    arrived = torch.zeros(2, dtype=torch.int32, device=DEVICE)
    for counter in (arrived, arrived, None):
        found = gemv(x, weight, scale, 4, bias, norm=norm, arrived=counter, config=config)
        assert error(found, expected) < 1e-5
        assert not arrived.any()
    with pytest.raises(ValueError, match="no norm follows"):
        gemv(x, weight, scale, 4, geglu=True, norm=norm, arrived=arrived)


def test_rows_too_long_for_one_program_are_normalised_by_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("glm130b.kernels.gpu.gemv._NORM_VALUES", 1)
    integers, weight, scale = weights(44, 384, 4, None)
    x, ones = torch.randn(1, 384, device=DEVICE), torch.ones(44, device=DEVICE)
    norm = AddNorm(torch.randn(1, 44, device=DEVICE), ones, ones, 1.7, 1e-5)
    found = gemv(x, weight, scale, 4, norm=norm, arrived=torch.zeros(1, dtype=torch.int32, device=DEVICE))
    assert error(found, normalised(exact(x, integers, scale), norm)) < 1e-5


def normalised(y: Tensor, norm: AddNorm) -> Tensor:
    """In FP64."""
    x = y + norm.alpha * norm.residual.double()
    return torch.nn.functional.layer_norm(x, x.shape[1:], norm.weight.double(), norm.bias.double(), norm.epsilon)


@pytest.mark.parametrize("num_stages", [1, 3])
def test_stages_change_nothing(num_stages: int) -> None:
    integers, weight, scale = weights(16, 1536, 4, None)
    x = torch.randn(1, 1536, device=DEVICE)
    found = gemv(x, weight, scale, 4, config=GemvConfig(8, 8, 1, num_stages=num_stages))
    assert error(found, exact(x, integers, scale)) < 1e-5


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("groups", [None, 4])
@pytest.mark.parametrize("dtype", HALVES)
def test_several_rows(bits: int, groups: int | None, dtype: torch.dtype) -> None:
    integers, weight, scale = weights(70, 512, bits, groups)
    for rows in (3, 33):
        x, bias = torch.randn(rows, 512, device=DEVICE).to(dtype), torch.randn(70, device=DEVICE).to(dtype)
        assert error(gemm(x, weight, scale, bits, bias), exact(x, integers, scale, bias)) < ROUNDING[dtype]


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("groups", [None, 3])
def test_expanding_is_what_dequantising_means(bits: int, groups: int | None) -> None:
    _, weight, scale = weights(11, 150, bits, groups)
    assert torch.equal(expand(weight, scale, bits, torch.float16), dequantize(weight, scale, bits))


@pytest.mark.parametrize("rows", [0, 1, 5, 130])
@pytest.mark.parametrize("columns", [96, 90])  # 90 columns of 4 bits are no whole number of units
def test_one_door_for_all_shapes(rows: int, columns: int) -> None:
    integers, weight, scale = weights(9, columns, 4, 3)
    for dtype in (torch.float32, torch.float16):
        x, bias = torch.randn(1, rows, columns, device=DEVICE).to(dtype), torch.randn(9, device=DEVICE).to(dtype)
        found = gpu.linear(x, weight, scale, 4, bias)
        assert (found.shape, found.dtype) == ((1, rows, 9), dtype)
        if rows:
            assert error(found[0], exact(x[0], integers, scale, bias)) < ROUNDING[dtype]


def test_a_large_matrix_is_expanded_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "_SCRATCH_BYTES", 4 * 96 * 4)
    integers, weight, scale = weights(9, 96, 4, 3)
    x, bias = torch.randn(70, 96, device=DEVICE), torch.randn(9, device=DEVICE)
    assert error(gpu.linear(x, weight, scale, 4, bias), exact(x, integers, scale, bias)) < 1e-5


def test_without_tensor_cores_cublas_multiplies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "_has_tensor_cores", lambda device: False)
    monkeypatch.setattr("glm130b.kernels.gpu.gemm.gemm", None)
    integers, weight, scale = weights(9, 96, 4, 3)
    x = torch.randn(6, 96, device=DEVICE).half()
    assert error(gpu.linear(x, weight, scale, 4), exact(x, integers, scale)) < 1e-3


def test_without_triton_pytorch_expands_and_says_so_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "find_spec", lambda name: None)
    gpu.has_triton.cache_clear()
    integers, weight, scale = weights(9, 96, 4, 3)
    x = torch.randn(1, 96, device=DEVICE)
    with pytest.warns(UserWarning, match="Triton is not installed"):
        found = gpu.linear(x, weight, scale, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gpu.linear(x, weight, scale, 4)
    gpu.has_triton.cache_clear()
    assert error(found, exact(x, integers, scale)) < 1e-3


def test_tables_fit_the_shapes_they_are_asked_for() -> None:
    for outputs, units, rows, bits in ((12288, 128, 1, 4), (512, 3, 4, 8), (1, 1, 2, 4), (2048, 1024, 1, 8)):
        config = gemv_config(bits, rows, outputs, units)
        assert config.block_n >= 2
        assert config.split == 1 or units // config.split >= config.block_units
    assert gemm_config(4, 5, 2048, 16) == GemmConfig(16, 64, 16, 4, 4)
    assert gemm_config(8, 100, 4096, None).block_m == 64
    assert [attention_splits(32, capacity) for capacity in (100, 600, 100_000)] == [2, 16, 16]
    assert attention_splits(256, 100_000) == 2
    assert (gemm_max_rows(None), gemm_max_rows(64), gemm_max_rows(16)) == (128, 128, 32)
