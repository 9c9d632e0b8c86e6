"""One or two rows times quantised weights: a Triton kernel that lives off memory bandwidth.

A 32-bit word holds eight 4-bit or four 8-bit weights. A weight is taken out of it by one AND and used by one fused
multiply-add, for the bits of an integer below 2^24, read as FP32, are that integer times 2^-149 (a denormal, which
GPUs multiply at full speed): what is left of the weight's place p in the word, 2^p, is made up for in the input.
Weights are offset binary here (their sign bit flipped), so the sum of the inputs times the offset is taken off.
Products and sums are FP32; inputs must stay below 2^52.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from glm130b.kernels.gpu.norm import AddNorm, _norm_row, add_and_norm
from glm130b.kernels.gpu.tables import GemvConfig, gemv_config

_LIFT = tl.constexpr(75)
"""Inputs are multiplied by 2^(75 - p), so products with denormals end far from both ends of FP32's range."""

_NORM_VALUES = 64
"""Of a row that a thread may hold to normalise it; more would not fit its registers."""


@triton.jit
def _weight(words, PLACE: tl.constexpr, BITS: tl.constexpr):
    """The weight at a place of each word, offset binary, times a power of two; see the module's docstring."""
    BIT: tl.constexpr = PLACE * BITS
    ONES: tl.constexpr = (1 << BITS) - 1
    bits = words & (ONES << BIT) if BIT + BITS <= 24 else (words >> 24) & (ONES << (BIT - 24))
    return bits.to(tl.float32, bitcast=True)


@triton.jit
def _lifted(x, PLACE: tl.constexpr, BITS: tl.constexpr):
    BIT: tl.constexpr = PLACE * BITS if PLACE * BITS + BITS <= 24 else PLACE * BITS - 24
    return (x * (2.0 ** (_LIFT - BIT)))[None, :]


@triton.jit
def _unit_products(words, x, BITS: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_UNITS: tl.constexpr):
    """Of each row and unit (16 bytes of weights) the product with ``x``: FP32 ``[BLOCK_N, BLOCK_UNITS]``.

    ``words`` is ``[BLOCK_N, 4 * BLOCK_UNITS]``, offset binary; ``x`` the inputs of all columns, FP32.
    """
    WORDS: tl.constexpr = 4 * BLOCK_UNITS
    if BITS == 4:
        even, odd = tl.split(tl.reshape(x, [WORDS * 4, 2]))
        x04, x26 = tl.split(tl.reshape(even, [WORDS * 2, 2]))
        x15, x37 = tl.split(tl.reshape(odd, [WORDS * 2, 2]))
        x0, x4 = tl.split(tl.reshape(x04, [WORDS, 2]))
        x1, x5 = tl.split(tl.reshape(x15, [WORDS, 2]))
        x2, x6 = tl.split(tl.reshape(x26, [WORDS, 2]))
        x3, x7 = tl.split(tl.reshape(x37, [WORDS, 2]))
        total = _weight(words, 1, 4) * _lifted(x0, 1, 4)
        total = tl.fma(_weight(words, 0, 4), _lifted(x1, 0, 4), total)
        total = tl.fma(_weight(words, 3, 4), _lifted(x2, 3, 4), total)
        total = tl.fma(_weight(words, 2, 4), _lifted(x3, 2, 4), total)
        total = tl.fma(_weight(words, 5, 4), _lifted(x4, 5, 4), total)
        total = tl.fma(_weight(words, 4, 4), _lifted(x5, 4, 4), total)
        total = tl.fma(_weight(words, 7, 4), _lifted(x6, 7, 4), total)
        total = tl.fma(_weight(words, 6, 4), _lifted(x7, 6, 4), total)
        x_sum = (x0 + x1) + (x2 + x3) + ((x4 + x5) + (x6 + x7))
    else:
        x02, x13 = tl.split(tl.reshape(x, [WORDS * 2, 2]))
        x0, x2 = tl.split(tl.reshape(x02, [WORDS, 2]))
        x1, x3 = tl.split(tl.reshape(x13, [WORDS, 2]))
        total = _weight(words, 0, 8) * _lifted(x0, 0, 8)
        total = tl.fma(_weight(words, 1, 8), _lifted(x1, 1, 8), total)
        total = tl.fma(_weight(words, 2, 8), _lifted(x2, 2, 8), total)
        total = tl.fma(_weight(words, 3, 8), _lifted(x3, 3, 8), total)
        x_sum = (x0 + x1) + (x2 + x3)
    OFFSET: tl.constexpr = 8.0 if BITS == 4 else 128.0
    products = tl.sum(tl.reshape(total, [BLOCK_N, BLOCK_UNITS, 4]), axis=2) * (2.0 ** (149 - _LIFT))
    return products - (tl.sum(tl.reshape(x_sum, [BLOCK_UNITS, 4]), axis=1) * OFFSET)[None, :]


@triton.jit
def _inputs(x_ptr, start, end, BLOCK: tl.constexpr, EVEN: tl.constexpr):
    column = start + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + column) if EVEN else tl.load(x_ptr + column, mask=column < end, other=0.0)
    return x.to(tl.float32)


@triton.jit
def _finish(
    acc, row, n, N, weight_row, scale_ptr, bias_ptr, out_ptr,
    BLOCK_N: tl.constexpr, BY_ROW: tl.constexpr, BIAS: tl.constexpr, GEGLU: tl.constexpr,
):  # fmt: skip
    """Sum over the units, scale, add the bias, apply GeGLU, and store one row's outputs."""
    total = tl.sum(acc, axis=1)
    if BY_ROW:
        total *= tl.load(scale_ptr + weight_row).to(tl.float32)
    if BIAS:
        total += tl.load(bias_ptr + weight_row).to(tl.float32)
    if GEGLU:
        value, gate = tl.split(tl.trans(tl.reshape(total, [2, BLOCK_N // 2])))
        total = value * (0.5 * gate * (1.0 + tl.erf(gate * 0.7071067811865476)))
    tl.store(out_ptr + row * N + n, total.to(out_ptr.dtype.element_ty), mask=n < N)


@triton.jit
def _sum_of_splits(part_ptr, bias_ptr, place, n, mask, SIZE, SPLIT: tl.constexpr, BIAS: tl.constexpr):
    """The stretches' parts, summed in their order, so that a product is the same at every call; and the bias."""
    total = tl.load(part_ptr + place, mask=mask, other=0.0, cache_modifier=".cg")
    for part in tl.static_range(1, SPLIT):
        total += tl.load(part_ptr + part * SIZE + place, mask=mask, other=0.0, cache_modifier=".cg")
    if BIAS:
        total += tl.load(bias_ptr + n, mask=mask, other=0.0).to(tl.float32)
    return total


@triton.jit
def _gemv(
    x_ptr, weight_ptr, scale_ptr, bias_ptr, out_ptr, N, UNITS, SPLIT_UNITS,
    norm_out_ptr, residual_ptr, norm_weight_ptr, norm_bias_ptr, arrived_ptr, alpha, epsilon,
    M: tl.constexpr, BITS: tl.constexpr, GROUP_UNITS: tl.constexpr, BIAS: tl.constexpr, GEGLU: tl.constexpr,
    EVEN: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_UNITS: tl.constexpr, STAGES: tl.constexpr,
    NORM: tl.constexpr, SPLIT: tl.constexpr,
):  # fmt: skip
    """Outputs ``n`` of all M rows over one stretch of the columns; N outputs, UNITS of 16 bytes in a weight row.

    GROUP_UNITS share a scale; 0 if all of a row do. With GEGLU the weights have 2 N rows, and a program takes those
    of its outputs from both halves. NORM is 0, or a power of two from N on: then the program that is last to arrive
    adds up the SPLIT stretches in their order, bias and residual, and normalises the rows.
    """
    UNIT: tl.constexpr = 128 // BITS
    OUTPUTS: tl.constexpr = BLOCK_N // 2 if GEGLU else BLOCK_N
    n = tl.program_id(0) * OUTPUTS + tl.arange(0, OUTPUTS)
    weight_row = tl.program_id(0) * OUTPUTS + tl.arange(0, BLOCK_N) % OUTPUTS
    weight_row = tl.minimum(weight_row, N - 1) + tl.arange(0, BLOCK_N) // OUTPUTS * N
    first = tl.program_id(1) * SPLIT_UNITS
    end = tl.minimum(first + SPLIT_UNITS, UNITS)
    acc0 = tl.zeros([BLOCK_N, BLOCK_UNITS], tl.float32)
    acc1 = acc0
    for start in tl.range(first, end, BLOCK_UNITS, num_stages=STAGES):
        word = start * 4 + tl.arange(0, 4 * BLOCK_UNITS)
        words_ptr = weight_ptr + weight_row[:, None] * (UNITS * 4) + word[None, :]
        words = tl.load(words_ptr) if EVEN else tl.load(words_ptr, mask=(word < end * 4)[None, :], other=0)
        words = words ^ (-0x77777778 if BITS == 4 else -0x7F7F7F80)
        scale = 1.0
        if GROUP_UNITS:
            unit = start + tl.arange(0, BLOCK_UNITS)
            groups = scale_ptr + weight_row[:, None] * (UNITS // GROUP_UNITS) + (unit // GROUP_UNITS)[None, :]
            scale = tl.load(groups, mask=(unit < end)[None, :], other=0.0).to(tl.float32)
        K = UNITS * UNIT
        x = _inputs(x_ptr, start * UNIT, end * UNIT, UNIT * BLOCK_UNITS, EVEN)
        acc0 += _unit_products(words, x, BITS, BLOCK_N, BLOCK_UNITS) * scale
        if M > 1:
            x = _inputs(x_ptr + K, start * UNIT, end * UNIT, UNIT * BLOCK_UNITS, EVEN)
            acc1 += _unit_products(words, x, BITS, BLOCK_N, BLOCK_UNITS) * scale
    out_ptr += tl.program_id(1) * (M * N)
    ADDS_BIAS: tl.constexpr = BIAS and NORM == 0 and SPLIT == 1
    _finish(acc0, 0, n, N, weight_row, scale_ptr, bias_ptr, out_ptr, BLOCK_N, GROUP_UNITS == 0, ADDS_BIAS, GEGLU)
    if M > 1:
        _finish(acc1, 1, n, N, weight_row, scale_ptr, bias_ptr, out_ptr, BLOCK_N, GROUP_UNITS == 0, ADDS_BIAS, GEGLU)
    if NORM:
        tl.debug_barrier()
        arrived = tl.atomic_add(arrived_ptr, 1, sem="acq_rel")
        if arrived == tl.num_programs(0) * SPLIT - 1:
            tl.store(arrived_ptr, 0)
            out_ptr -= tl.program_id(1) * (M * N)
            place = tl.arange(0, NORM)
            mask = place < N
            for row in tl.static_range(M):
                total = _sum_of_splits(out_ptr + row * N, bias_ptr, place, place, mask, M * N, SPLIT, BIAS)
                _norm_row(
                    total, place, mask, residual_ptr + row * N, norm_weight_ptr, norm_bias_ptr,
                    norm_out_ptr + row * N, alpha, epsilon, N,
                )  # fmt: skip


@triton.jit
def _add_splits(partial_ptr, bias_ptr, out_ptr, N, SIZE, SPLIT: tl.constexpr, BIAS: tl.constexpr, BLOCK: tl.constexpr):
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    total = _sum_of_splits(partial_ptr, bias_ptr, place, place % N, place < SIZE, SIZE, SPLIT, BIAS)
    tl.store(out_ptr + place, total.to(out_ptr.dtype.element_ty), mask=place < SIZE)


def gemv(
    x: Tensor,
    weight: Tensor,
    scale: Tensor,
    bits: int,
    bias: Tensor | None = None,
    *,
    geglu: bool = False,
    norm: AddNorm | None = None,
    arrived: Tensor | None = None,
    config: GemvConfig | None = None,
) -> Tensor:
    """``x W^T + b`` for one or two rows ``[M, K]``: ``[M, N]`` in the dtype of ``x``, sums in FP32.

    Args:
        weight, scale, bits, bias: as ``glm130b.kernels.linear`` has them; groups are whole units of 16 bytes.
        geglu: give the first half of the outputs times the GELU of the second, ``[M, N / 2]``.
        norm: give what it makes of the outputs; without rounding between if ``arrived`` is there.
        arrived: zeros, int32, at least one; zeros again afterwards. What runs at once must not share them.
        config: how to cut the work up; default what the table has for the shape.
    """
    rows, columns = weight.shape
    units, outputs = columns // 16, rows // 2 if geglu else rows
    config = config or gemv_config(bits, len(x), rows, units, grouped=scale.dim() == 2)
    if geglu and (config.split > 1 or norm is not None):
        raise ValueError("GeGLU needs whole sums: split must be 1, and no norm follows")
    block = triton.next_power_of_2(outputs)
    if norm is not None and (arrived is None or block > _NORM_VALUES * 32 * config.num_warps):
        return add_and_norm(gemv(x, weight, scale, bits, bias, config=config), norm)
    x = x.contiguous()
    out = torch.empty(len(x), outputs, dtype=x.dtype, device=x.device)
    split_units = -(-units // config.split)
    split_units = -(-split_units // config.block_units) * config.block_units
    split = -(-units // split_units)
    whole = split == 1 and norm is None
    parts = out if whole else torch.empty(split, *out.shape, dtype=torch.float32, device=x.device)
    _gemv[(triton.cdiv(outputs, config.block_n // 2 if geglu else config.block_n), split)](
        x,
        weight.view(torch.int32),
        scale,
        x if bias is None else bias,
        parts,
        outputs,
        units,
        split_units,
        out,
        *((x, x, x, x, 0.0, 0.0) if norm is None else (*_tensors(norm), arrived, norm.alpha, norm.epsilon)),
        M=len(x),
        BITS=bits,
        GROUP_UNITS=0 if scale.dim() == 1 else units // scale.shape[1],
        BIAS=bias is not None,
        GEGLU=geglu,
        EVEN=units % config.block_units == 0,
        BLOCK_N=config.block_n,
        BLOCK_UNITS=config.block_units,
        STAGES=config.num_stages,
        NORM=0 if norm is None else block,
        SPLIT=split,
        num_warps=config.num_warps,
    )
    if split > 1 and norm is None:
        _add_splits[(triton.cdiv(out.numel(), 256),)](
            parts, x if bias is None else bias, out, outputs, out.numel(), SPLIT=split, BIAS=bias is not None, BLOCK=256
        )
    return out


def _tensors(norm: AddNorm) -> tuple[Tensor, Tensor, Tensor]:
    return norm.residual.contiguous(), norm.weight, norm.bias
