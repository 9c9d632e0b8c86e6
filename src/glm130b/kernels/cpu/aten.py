"""PyTorch's own products by quantised weights: where nothing can be compiled.

Activations and, for groups, scales are rounded to BF16.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from glm130b.kernels.plain import unpack_int4

MAX_ROWS = 16
"""Rows of activations up to which these operators beat expanding the weights."""

_GROUPS = (256, 128, 64, 32)
_packed: WeakTensorKeyDictionary = WeakTensorKeyDictionary()


def takes(weight: Tensor, scale: Tensor, bits: int) -> bool:
    """Whether there is an operator for these weights."""
    if bits == 8:
        return scale.dim() == 1
    return weight.shape[0] % 16 == 0 and _group(weight, scale) is not None


def linear(x: Tensor, weight: Tensor, scale: Tensor, bits: int) -> Tensor:
    """``x W^T``, FP32 ``[M, K]`` to ``[M, N]``; the weights as of ``kernels.linear``."""
    half = x.bfloat16()
    if bits == 8:
        ones = torch.ones(len(weight), dtype=torch.bfloat16)
        eight: Tensor = torch.ops.aten._weight_int8pack_mm(half, weight, ones)
        return eight.float() * scale
    group, by_row = _group(weight, scale), scale.dim() == 1
    assert group is not None
    if weight not in _packed:
        _packed[weight] = torch.ops.aten._convert_weight_to_int4pack_for_cpu(unpack_int4(weight).int() + 8, 2)
    scales = torch.ones(weight.shape[1] * 2 // group, len(weight)) if by_row else scale.T.float()
    both = torch.stack((scales, torch.zeros_like(scales)), dim=-1).bfloat16()
    four: Tensor = torch.ops.aten._weight_int4pack_mm_for_cpu(half, _packed[weight], group, both)
    return four.float() * scale if by_row else four.float()


def _group(weight: Tensor, scale: Tensor) -> int | None:
    columns = weight.shape[1] * 2
    if scale.dim() == 1:
        return next((group for group in _GROUPS if columns % group == 0), None)
    group = columns // scale.shape[1]
    return group if group in _GROUPS else None
