"""Rotary position embedding, one-dimensional, half-split.

Dimension i of a head is paired with i + d/2; both turn by ``position * base^(-2i/d)``
(Su et al., RoFormer, in the pairing of the official GLM-130B code).
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

Tables = tuple[Tensor, Tensor]


def inverse_frequencies(head_size: int, base: float, precision: Literal["fp32", "fp16"]) -> Tensor:
    """``base^(-2i/d)`` for i below d/2, FP32 ``[d/2]``, rounded to FP16 first if ``precision`` says so."""
    exponents = torch.arange(0, head_size, 2, dtype=torch.float32) / head_size
    frequencies = 1.0 / (base**exponents)
    return frequencies.half().float() if precision == "fp16" else frequencies


def rotary_tables(position_ids_BS: Tensor, frequencies: Tensor) -> Tables:
    """Cosines and sines ``[B, S, 1, d/2]`` in FP32 of the angles of each position."""
    angles = position_ids_BS[..., None, None].float() * frequencies
    return angles.cos(), angles.sin()


class _Rotate(torch.autograd.Function):
    """Turn the two halves of the last dimension; the gradient turns back. Keeps only the tables."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return _turn(x, cos, sin)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return _turn(grads[0], cos, -sin), None, None


def _turn(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    low, high = x.chunk(2, dim=-1)
    out = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    out_low, out_high = out.chunk(2, dim=-1)
    torch.mul(low, cos, out=out_low)
    out_low.addcmul_(high, sin, value=-1)
    torch.mul(high, cos, out=out_high)
    out_high.addcmul_(low, sin)
    return out


def rotate(x_BShd: Tensor, tables: Tables) -> Tensor:
    """Apply the rotation to ``[B, S, heads, d]``; the result has the same shape and dtype."""
    cos, sin = tables
    rotated: Tensor = _Rotate.apply(x_BShd, cos.to(x_BShd.dtype), sin.to(x_BShd.dtype))  # type: ignore[no-untyped-call]
    return rotated
