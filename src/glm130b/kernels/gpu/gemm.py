"""Several rows times quantised weights on tensor cores, weights expanded in registers."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from glm130b.kernels.gpu.tables import GemmConfig, gemm_config


@triton.jit
def _expanded(nibbles, dtype: tl.constexpr):
    """Integers of 4 bits, offset binary; in FP16 an integer n below 2^10 is the last bits of 1024 + n."""
    if dtype == tl.float16:
        return (nibbles | 0x6400).to(tl.int16).to(tl.float16, bitcast=True) - 1032.0
    return (nibbles.to(tl.float32) - 8.0).to(dtype)


@triton.jit
def _gemm(
    x_ptr, weight_ptr, scale_ptr, bias_ptr, out_ptr, M, N, BYTES,
    BITS: tl.constexpr, GROUP_BYTES: tl.constexpr, BIAS: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_BYTES: tl.constexpr,
):  # fmt: skip
    """A block of outputs. For 4 bits ``x`` is ``[2, M, K / 2]``, its even columns and then its odd ones."""
    dtype: tl.constexpr = x_ptr.dtype.element_ty
    m = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    n = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    row = tl.minimum(n, N - 1)
    x_row = tl.minimum(m, M - 1)
    acc = tl.zeros([BLOCK_M, BLOCK_N], tl.float32)
    for start in range(0, BYTES, BLOCK_BYTES):
        byte = start + tl.arange(0, BLOCK_BYTES)
        packed = tl.load(weight_ptr + row[None, :] * BYTES + byte[:, None])
        x_block = x_ptr + x_row[:, None] * BYTES + byte[None, :]
        if BITS == 4:
            wide = packed.to(tl.int16) ^ 0x88
            part = tl.dot(tl.load(x_block), _expanded((wide >> 4) & 0xF, dtype))
            part = tl.dot(tl.load(x_block + M * BYTES), _expanded(wide & 0xF, dtype), part)
        else:
            part = tl.dot(tl.load(x_block), packed.to(tl.float32).to(dtype))
        if GROUP_BYTES:
            scale = tl.load(scale_ptr + row * (BYTES // GROUP_BYTES) + start // GROUP_BYTES)
            part *= scale.to(tl.float32)[None, :]
        acc += part
    if not GROUP_BYTES:
        acc *= tl.load(scale_ptr + row).to(tl.float32)[None, :]
    if BIAS:
        acc += tl.load(bias_ptr + row).to(tl.float32)[None, :]
    tl.store(out_ptr + m[:, None] * N + n[None, :], acc.to(dtype), mask=(m < M)[:, None] & (n < N)[None, :])


def gemm(
    x: Tensor,
    weight: Tensor,
    scale: Tensor,
    bits: int,
    bias: Tensor | None = None,
    *,
    config: GemmConfig | None = None,
) -> Tensor:
    """``x W^T + b`` for ``[M, K]`` in FP16 or BF16: ``[M, N]`` in the same, sums in FP32.

    Args:
        weight, scale, bits, bias: as ``glm130b.kernels.linear`` has them; a row and a group are a whole number of
            ``config.block_bytes``.
        config: how to cut the work up; default what the table has for the shape.
    """
    rows, num_bytes = weight.shape
    group_bytes = num_bytes // scale.shape[1] if scale.dim() == 2 else None
    config = config or gemm_config(bits, len(x), num_bytes, group_bytes)
    planes = x.view(len(x), -1, 2).permute(2, 0, 1).contiguous() if bits == 4 else x.contiguous()
    out = torch.empty(len(x), rows, dtype=x.dtype, device=x.device)
    _gemm[(triton.cdiv(len(x), config.block_m), triton.cdiv(rows, config.block_n))](
        planes,
        weight,
        scale,
        x if bias is None else bias,
        out,
        len(x),
        rows,
        num_bytes,
        BITS=bits,
        GROUP_BYTES=group_bytes or 0,
        BIAS=bias is not None,
        BLOCK_M=config.block_m,
        BLOCK_N=config.block_n,
        BLOCK_BYTES=config.block_bytes,
        num_warps=config.num_warps,
        num_stages=config.num_stages,
    )
    return out
