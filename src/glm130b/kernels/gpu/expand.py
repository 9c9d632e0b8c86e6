"""Quantised weights expanded to half precision a block at a time, then multiplied by cuBLAS: right for many rows."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def _expand(weight_ptr, scale_ptr, out_ptr, SIZE, BYTES, GROUP_BYTES, BITS: tl.constexpr, BLOCK: tl.constexpr):
    """Bytes of the flattened weights; the integer times its scale, rounded once."""
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = place < SIZE
    packed = tl.load(weight_ptr + place, mask=mask, other=0)
    scale = tl.load(scale_ptr + place // GROUP_BYTES, mask=mask, other=0.0).to(tl.float32)
    dtype: tl.constexpr = out_ptr.dtype.element_ty
    if BITS == 4:
        wide = packed.to(tl.int32)
        even = ((wide >> 4).to(tl.float32) * scale).to(dtype)
        odd = (((wide << 28) >> 28).to(tl.float32) * scale).to(dtype)
        out_place = tl.program_id(0).to(tl.int64) * (2 * BLOCK) + tl.arange(0, 2 * BLOCK)
        tl.store(out_ptr + out_place, tl.interleave(even, odd), mask=out_place < 2 * SIZE)
    else:
        tl.store(out_ptr + place, (packed.to(tl.float32) * scale).to(dtype), mask=mask)


def expand(weight: Tensor, scale: Tensor, bits: int, dtype: torch.dtype) -> Tensor:
    """``[N, K]``: what ``glm130b.kernels.plain.dequantize`` gives in FP16, here in any ``dtype``, in one pass."""
    rows, num_bytes = weight.shape
    out = torch.empty(rows, num_bytes * 8 // bits, dtype=dtype, device=weight.device)
    group_bytes = num_bytes // scale.shape[1] if scale.dim() == 2 else num_bytes
    grid = (triton.cdiv(weight.numel(), 1024),)
    _expand[grid](weight, scale, out, weight.numel(), num_bytes, group_bytes, BITS=bits, BLOCK=1024, num_warps=4)
    return out
