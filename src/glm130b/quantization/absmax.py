"""Symmetric absmax quantisation, as GLM-130B's released INT8 and INT4 files have it.

Of every stretch of a row that has a scale of its own: ``scale = fp16(max |w| / q)`` with q = 127 or 7, and ``integer =
round_half_even(fp16(w / scale))``. The division is FP16 by FP16, rounded to FP16 before it is rounded to an integer:
part of the format, for FP32 division gives other integers in about 1 % of the INT8 places.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from glm130b.model import Bits

_LARGEST: dict[int, int] = {8: 127, 4: 7}
_BLOCK_VALUES = 1 << 20
"""Worked on at a time, so that they stay in the processor's caches."""


def quantize_rows(weight: Tensor, bits: Bits, num_scales: int = 1) -> tuple[Tensor, Tensor]:
    """Quantise ``[rows, columns]``, a block of rows at a time, so that little more than the result is held.

    Args:
        num_scales: scales a row, each for as many consecutive columns: of groups of columns, or of the parts that
            the official converter quantises by themselves, one for each tensor-parallel rank.

    Returns:
        Integers, int8 ``[rows, columns]`` or, for 4 bits, packed ``[rows, columns / 2]``; scales, FP16 ``[rows]``, or
        ``[rows, num_scales]`` if there are several. A stretch of zeros has scale 0.

    Raises:
        ValueError: the weights do not fit FP16, the columns do not divide into ``num_scales``, or an odd
            number of columns is to be packed into 4 bits.
    """
    rows, columns = weight.shape
    if columns % num_scales:
        raise ValueError(f"{columns} columns do not divide into {num_scales}")
    width = columns // num_scales
    _check_packing(width, bits)
    integers = torch.empty(rows, columns * bits // 8, dtype=torch.int8)
    scales = torch.empty(rows, num_scales, dtype=torch.float16)
    for block in row_blocks(weight):
        found, scale = _quantize_block(weight[block].half().view(-1, width), bits)
        integers[block] = found.view(-1, integers.shape[1])
        scales[block] = scale.view(-1, num_scales)
    return integers, scales.squeeze(1) if num_scales == 1 else scales


def row_blocks(weight: Tensor) -> Iterator[slice]:
    """Stretches of rows of ``[rows, columns]`` that are worked on at a time."""
    rows, columns = weight.shape
    step = max(1, _BLOCK_VALUES // max(1, columns))
    return (slice(start, start + step) for start in range(0, rows, step))


def _quantize_block(weight: Tensor, bits: Bits) -> tuple[Tensor, Tensor]:
    largest = weight.abs().amax(dim=1)
    if not torch.isfinite(largest).all():
        raise ValueError("weights are not finite in FP16")
    scale = largest / _LARGEST[bits]
    divisor = torch.where(scale == 0, torch.ones_like(scale), scale)
    # A subnormal scale is so coarse that the quotient can pass the largest integer.
    integers = (weight / divisor[:, None]).round_().clamp_(-_LARGEST[bits], _LARGEST[bits]).to(torch.int8)
    return (pack_int4(integers) if bits == 4 else integers), scale


def pack_int4(values: Tensor) -> Tensor:
    """Two values of -8 … 7 a byte, the even column in the high nibble: ``[rows, c]`` to ``[rows, c / 2]``."""
    _check_packing(values.shape[1], 4)
    return (values[:, 0::2] << 4) | (values[:, 1::2] & 0xF)


def _check_packing(columns: int, bits: int) -> None:
    if bits == 4 and columns % 2:
        raise ValueError(f"4 bits pack two columns a byte, so {columns} columns will not do")
