"""A linear map whose weight stays quantised and is expanded when it is used."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glm130b.model import GLM, Bits, is_cut_by_columns
from glm130b.quantization.absmax import dequantize

_BLOCK_BYTES = 1 << 25
"""Of quantised weights expanded at a time: a large matrix in full precision would not fit beside small memory."""


class QuantizedLinear(nn.Module):
    """``x W^T + b`` with ``W`` in INT8 or packed INT4; activations keep their precision.

    Buffers:
        weight: int8 ``[out, in]`` or ``[out, in / 2]``.
        weight_scale: FP16 ``[out]``, or ``[out, scale_shards]`` if there are several scales a row.
    """

    weight: Tensor
    weight_scale: Tensor

    def __init__(self, in_features: int, out_features: int, bits: Bits, scale_shards: int = 1) -> None:
        super().__init__()
        self.bits = bits
        scales = (out_features,) if scale_shards == 1 else (out_features, scale_shards)
        columns = in_features if bits == 8 else in_features // 2
        self.register_buffer("weight", torch.empty(out_features, columns, dtype=torch.int8))
        self.register_buffer("weight_scale", torch.empty(scales, dtype=torch.float16))
        self.bias = nn.Parameter(torch.empty(out_features), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[…, in]`` to ``[…, out]``."""
        rows, columns = self.weight.shape
        step = max(1, _BLOCK_BYTES // columns)
        if rows <= step:
            return F.linear(x, dequantize(self.weight, self.weight_scale, self.bits).to(x.dtype), self.bias)
        out = x.new_empty(*x.shape[:-1], rows)
        for start in range(0, rows, step):
            block = slice(start, start + step)
            weight = dequantize(self.weight[block], self.weight_scale[block], self.bits).to(x.dtype)
            out[..., block] = F.linear(x, weight, self.bias[block])
        return out


def use_quantized_linears(model: GLM, bits: Bits, scale_shards: int = 1) -> None:
    """Put an empty ``QuantizedLinear`` in the place of each linear map of the blocks (same device).

    Args:
        scale_shards: of the maps that tensor parallelism cuts by columns; the others have one scale a row.
    """
    for path, module in list(model.named_modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.Linear):
                shards = scale_shards if is_cut_by_columns(f"{path}.{name}") else 1
                with child.weight.device:
                    setattr(module, name, QuantizedLinear(child.in_features, child.out_features, bits, shards))
