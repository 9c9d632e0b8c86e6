"""Quantised weights expanded by PyTorch's operators: the meaning of the layout, and the last resort."""

from __future__ import annotations

import torch
from torch import Tensor


def unpack_int4(packed: Tensor) -> Tensor:
    """Two values a byte, the even column in the high nibble: int8 ``[N, 2 c]`` from ``[N, c]``."""
    return torch.stack((packed >> 4, (packed << 4) >> 4), dim=-1).flatten(1)


def dequantize(weight: Tensor, scale: Tensor, bits: int) -> Tensor:
    """Expand to FP16 ``[N, K]``: the integer in FP16 times its scale, rounded to FP16.

    Args:
        scale: FP16 ``[N]``, or ``[N, G]`` if each is for K / G consecutive columns.
    """
    values = unpack_int4(weight) if bits == 4 else weight
    if scale.dim() == 1:
        return values.half() * scale[:, None]
    return (values.half().view(*scale.shape, -1) * scale[:, :, None]).view(values.shape)
