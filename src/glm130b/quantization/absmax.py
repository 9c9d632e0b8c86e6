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
_BLOCK_VALUES = 1 << 23


def quantize_rows(weight: Tensor, bits: Bits, scale_shards: int = 1) -> tuple[Tensor, Tensor]:
    """Quantise ``[rows, columns]``, a block of rows at a time, so that little more than the result is held.

    Args:
        scale_shards: scales a row. The official converter quantises each tensor-parallel rank's part by
            itself, so a matrix that T ranks share by columns has T scales a row, each for C/T columns.

    Returns:
        Integers, int8 ``[rows, columns]`` or, for 4 bits, packed ``[rows, columns / 2]``; scales, FP16
        ``[rows]``, or ``[rows, scale_shards]`` if there are several. A row of zeros has scale 0.

    Raises:
        ValueError: the weights do not fit FP16, the columns do not divide into ``scale_shards``, or an odd
            number of columns is to be packed into 4 bits.
    """
    rows, columns = weight.shape
    if columns % scale_shards:
        raise ValueError(f"{columns} columns do not divide among {scale_shards} ranks")
    width = columns // scale_shards
    _check_packing(width, bits)
    integers = torch.empty(rows, columns * bits // 8, dtype=torch.int8)
    scales = torch.empty(rows, scale_shards, dtype=torch.float16)
    step = max(1, _BLOCK_VALUES // max(1, columns))
    for start in range(0, rows, step):
        block = weight[start : start + step].half().view(-1, width)
        found, scale = _quantize_block(block, bits)
        integers[start : start + step] = found.view(-1, integers.shape[1])
        scales[start : start + step] = scale.view(-1, scale_shards)
    return integers, scales.squeeze(1) if scale_shards == 1 else scales


def _quantize_block(weight: Tensor, bits: Bits) -> tuple[Tensor, Tensor]:
    if not torch.isfinite(weight).all():
        raise ValueError("weights are not finite in FP16")
    scale = weight.abs().amax(dim=1) / _LARGEST[bits]
    divisor = torch.where(scale == 0, torch.ones_like(scale), scale)
    # A subnormal scale is so coarse that the quotient can pass the largest integer.
    integers = (weight / divisor[:, None]).round().clamp(-_LARGEST[bits], _LARGEST[bits]).to(torch.int8)
    return (pack_int4(integers) if bits == 4 else integers), scale


def dequantize(integers: Tensor, scale: Tensor, bits: Bits) -> Tensor:
    """Expand to FP16 ``[rows, columns]``: the integer in FP16 times its scale, rounded to FP16.

    Args:
        scale: ``[rows]`` or ``[rows, scale_shards]``.
    """
    values = unpack_int4(integers) if bits == 4 else integers
    if scale.dim() == 1:
        return values.half() * scale[:, None]
    return (values.half().view(*scale.shape, -1) * scale[:, :, None]).view(values.shape)


def pack_int4(values: Tensor) -> Tensor:
    """Two values of -8 … 7 a byte, the even column in the high nibble: ``[rows, c]`` to ``[rows, c / 2]``."""
    _check_packing(values.shape[1], 4)
    nibbles = values.to(torch.int16) & 0xF
    return ((nibbles[:, 0::2] << 4) | nibbles[:, 1::2]).to(torch.uint8).view(torch.int8)


def unpack_int4(packed: Tensor) -> Tensor:
    """The inverse of ``pack_int4``: int8 ``[rows, 2 c]`` from ``[rows, c]``."""
    return torch.stack((packed >> 4, (packed << 4) >> 4), dim=-1).flatten(1)


def _check_packing(columns: int, bits: int) -> None:
    if bits == 4 and columns % 2:
        raise ValueError(f"4 bits pack two columns a byte, so {columns} columns will not do")
