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


class _SplitAndRotate(torch.autograd.Function):
    """One pass each way; the gradient turns back. Only the tables are kept."""

    @staticmethod
    def forward(ctx: Any, qkv_BSh3d: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        ctx.save_for_backward(cos, sin)
        q_BShd, k_BShd, v_BShd = qkv_BSh3d.chunk(3, dim=-1)
        out = torch.empty((3, *v_BShd.transpose(1, 2).shape), dtype=v_BShd.dtype, device=v_BShd.device)
        _turn(q_BShd, cos, sin, out[0].transpose(1, 2))
        _turn(k_BShd, cos, sin, out[1].transpose(1, 2))
        out[2].transpose(1, 2).copy_(v_BShd)
        return out[0], out[1], out[2]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        q, k, v = (grad.transpose(1, 2) for grad in grads)
        out = torch.empty((*v.shape[:-1], 3 * v.shape[-1]), dtype=v.dtype, device=v.device)
        out_q, out_k, out_v = out.chunk(3, dim=-1)
        _turn(q, cos, -sin, out_q)
        _turn(k, cos, -sin, out_k)
        out_v.copy_(v)
        return out, None, None


def _turn(x: Tensor, cos: Tensor, sin: Tensor, out: Tensor) -> None:
    low, high = x.chunk(2, dim=-1)
    out_low, out_high = out.chunk(2, dim=-1)
    torch.mul(low, cos, out=out_low)
    out_low.addcmul_(high, sin, value=-1)
    torch.mul(high, cos, out=out_high)
    out_high.addcmul_(low, sin)


def _turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    low, high = x.chunk(2, dim=-1)
    return torch.cat((low * cos - high * sin, high * cos + low * sin), dim=-1)


def split_and_rotate(qkv_BSh3d: Tensor, tables: Tables) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values ``[B, h, S, d]`` of ``[B, S, h, 3 d]``, the first two rotated."""
    cos, sin = (table.to(qkv_BSh3d.dtype) for table in tables)
    if torch.compiler.is_compiling():  # as in ``geglu``
        q, k, v = (part.transpose(1, 2) for part in qkv_BSh3d.chunk(3, dim=-1))
        cos, sin = cos.transpose(1, 2), sin.transpose(1, 2)
        return _turned(q, cos, sin), _turned(k, cos, sin), v
    parts: tuple[Tensor, Tensor, Tensor] = _SplitAndRotate.apply(qkv_BSh3d, cos, sin)  # type: ignore[no-untyped-call]
    return parts
