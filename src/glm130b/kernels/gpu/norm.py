"""LayerNorm of a branch added to the residual, alone or at the end of the product that gives the branch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor


@dataclass(frozen=True)
class AddNorm:
    """``LayerNorm(y + alpha residual)``, as DeepNorm has it, for ``y`` of ``[M, N]``; sums in FP32.

    Attributes:
        residual: ``[M, N]``.
        weight, bias: of the norm, ``[N]``.
        alpha, epsilon: the residual's factor, and what is added to the variance.
    """

    residual: Tensor
    weight: Tensor
    bias: Tensor
    alpha: float
    epsilon: float


@triton.jit
def _norm_row(
    y, place, mask, residual_ptr, weight_ptr, bias_ptr, out_ptr, alpha, epsilon, SIZE
):  # fmt: skip
    """Add the residual to one row of the branch, FP32, normalise and store it."""
    x = y + alpha * tl.load(residual_ptr + place, mask=mask, other=0.0).to(tl.float32)
    mean = tl.sum(x) / SIZE
    centred = tl.where(mask, x - mean, 0.0)
    x = centred * tl.rsqrt(tl.sum(centred * centred) / SIZE + epsilon)
    x = x * tl.load(weight_ptr + place, mask=mask).to(tl.float32) + tl.load(bias_ptr + place, mask=mask).to(tl.float32)
    tl.store(out_ptr + place, x.to(out_ptr.dtype.element_ty), mask=mask)


@triton.jit
def _add_and_norm(
    y_ptr, residual_ptr, weight_ptr, bias_ptr, out_ptr, alpha, epsilon, SIZE, BLOCK: tl.constexpr
):  # fmt: skip
    place = tl.arange(0, BLOCK)
    start = tl.program_id(0) * SIZE
    y = tl.load(y_ptr + start + place, mask=place < SIZE, other=0.0).to(tl.float32)
    _norm_row(
        y, place, place < SIZE, residual_ptr + start, weight_ptr, bias_ptr, out_ptr + start, alpha, epsilon, SIZE
    )  # fmt: skip


def add_and_norm(y: Tensor, norm: AddNorm) -> Tensor:
    """Apply it to ``[M, N]``."""
    y, size = y.contiguous(), y.shape[-1]
    block = triton.next_power_of_2(size)
    out = torch.empty_like(y)
    _add_and_norm[(len(y),)](
        y, norm.residual.contiguous(), norm.weight, norm.bias, out, norm.alpha, norm.epsilon, size,
        BLOCK=block, num_warps=min(16, max(1, block // 512)),
    )  # fmt: skip
    return out
