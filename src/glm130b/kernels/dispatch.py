"""Which implementation multiplies."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from glm130b.kernels.cpu import Map, aten, library
from glm130b.kernels.plain import dequantize

_BLOCK_BYTES = 1 << 25
"""Of weights expanded at a time: a large matrix in full precision would not fit beside small memory."""


def linear(x: Tensor, weight: Tensor, scale: Tensor, bits: int, bias: Tensor | None = None) -> Tensor:
    """``x W^T + b`` with ``W`` quantised: ``[…, K]`` to ``[…, N]``, in the dtype of ``x``.

    Args:
        weight: int8 ``[N, K]`` or, for 4 bits, ``[N, K / 2]``, the even column in the high nibble.
        scale: FP16 ``[N]``, or ``[N, G]`` if each is for K / G consecutive columns.
        bias: ``[N]``.
    """
    if x.is_cuda:
        from glm130b.kernels.gpu import linear as on_gpu

        return on_gpu(x, weight, scale, bits, bias)
    rows = x.shape[:-1].numel()
    if x.device.type == "cpu" and rows and not (torch.is_grad_enabled() and x.requires_grad):
        weights = Map(weight, scale, bits, None if bias is None else bias.detach().float())
        kernels = library() if weights.fits else None
        flat = x.reshape(rows, -1).float()
        if kernels is not None:
            return kernels.linear(flat, weights).view(*x.shape[:-1], -1).to(x.dtype)
        if rows <= aten.MAX_ROWS and aten.takes(weight, scale, bits):
            found = aten.linear(flat, weight, scale, bits)
            return (found if bias is None else found + bias).view(*x.shape[:-1], -1).to(x.dtype)
    return _expanded(x, weight, scale, bits, bias)


def _expanded(x: Tensor, weight: Tensor, scale: Tensor, bits: int, bias: Tensor | None) -> Tensor:
    rows, columns = weight.shape
    step = max(1, _BLOCK_BYTES // columns)
    out = [
        F.linear(
            x,
            dequantize(weight[n : n + step], scale[n : n + step], bits).to(x.dtype),
            None if bias is None else bias[n : n + step].to(x.dtype),
        )
        for n in range(0, rows, step)
    ]
    return out[0] if len(out) == 1 else torch.cat(out, dim=-1)


def half_linear(x: Tensor, weight: Tensor) -> Tensor:
    """``x W^T`` with ``W`` in half precision ``[N, K]`` and ``x`` in FP32, without an FP32 copy of all of ``W``."""
    rows, columns = weight.shape
    kernels = library() if x.device.type == "cpu" and not torch.is_grad_enabled() and Map(weight).fits else None
    flat = x.reshape(-1, columns)
    if kernels is not None and 0 < len(flat) <= aten.MAX_ROWS:
        return kernels.linear(flat, Map(weight)).view(*x.shape[:-1], rows)
    step = max(1, _BLOCK_BYTES // columns)
    return torch.cat([F.linear(x, weight[n : n + step].to(x.dtype)) for n in range(0, rows, step)], dim=-1)
