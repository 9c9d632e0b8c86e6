"""Symmetric absmax quantisation of weight rows, as GLM-130B's released INT8 and INT4 files have it.

Per output row: ``scale = fp16(max |w| / q)`` with q = 127 or 7, and ``integer = round_half_even(fp16(w / scale))``.
The division is FP16 by FP16, rounded to FP16 before it is rounded to an integer: part of the format, for
FP32 division gives other integers in about 1 % of the INT8 places.
"""

from __future__ import annotations

import torch
from torch import Tensor

from glm130b.model import Bits

_LARGEST: dict[int, int] = {8: 127, 4: 7}


def quantize_rows(weight: Tensor, bits: Bits) -> tuple[Tensor, Tensor]:
    """Quantise ``[rows, columns]``.

    Returns:
        Integers, int8 ``[rows, columns]`` or, for 4 bits, packed ``[rows, columns / 2]``; scales, FP16
        ``[rows]``. A row of zeros has scale 0.

    Raises:
        ValueError: the weights do not fit FP16, or 4 bits and an odd number of columns.
    """
    weight = weight.half()
    if not torch.isfinite(weight).all():
        raise ValueError("weights are not finite in FP16")
    scale = weight.abs().amax(dim=1) / _LARGEST[bits]
    divisor = torch.where(scale == 0, torch.ones_like(scale), scale)
    # A subnormal scale is so coarse that the quotient can pass the largest integer.
    integers = (weight / divisor[:, None]).round().clamp(-_LARGEST[bits], _LARGEST[bits]).to(torch.int8)
    return (pack_int4(integers) if bits == 4 else integers), scale


def dequantize(integers: Tensor, scale: Tensor, bits: Bits) -> Tensor:
    """Expand to FP16 ``[rows, columns]``: the integer in FP16 times the scale, rounded to FP16."""
    values = unpack_int4(integers) if bits == 4 else integers
    return values.half() * scale[:, None]


def pack_int4(values: Tensor) -> Tensor:
    """Two values of -8 … 7 a byte, the even column in the high nibble: ``[rows, c]`` to ``[rows, c / 2]``."""
    if values.shape[1] % 2:
        raise ValueError(f"4 bits pack two columns a byte, so {values.shape[1]} columns will not do")
    nibbles = values.to(torch.int16) & 0xF
    return ((nibbles[:, 0::2] << 4) | nibbles[:, 1::2]).to(torch.uint8).view(torch.int8)


def unpack_int4(packed: Tensor) -> Tensor:
    """The inverse of ``pack_int4``: int8 ``[rows, 2 c]`` from ``[rows, c]``."""
    return torch.stack((packed >> 4, (packed << 4) >> 4), dim=-1).flatten(1)
