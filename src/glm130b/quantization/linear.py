"""A linear map whose weight stays quantised."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from glm130b import kernels
from glm130b.model import GLM, OUTPUT, Bits, Scheme


class QuantizedLinear(nn.Module):
    """``x W^T + b`` with ``W`` in INT8 or packed INT4; activations keep their precision.

    Buffers:
        weight: int8 ``[out, in]`` or ``[out, in / 2]``.
        weight_scale: FP16 ``[out]``, or ``[out, num_scales]`` if there are several scales a row.
    """

    weight: Tensor
    weight_scale: Tensor
    bias: nn.Parameter | None

    def __init__(
        self, in_features: int, out_features: int, bits: Bits, num_scales: int = 1, *, bias: bool = True
    ) -> None:
        super().__init__()
        self.bits = bits
        scales = (out_features,) if num_scales == 1 else (out_features, num_scales)
        columns = in_features if bits == 8 else in_features // 2
        self.register_buffer("weight", torch.empty(out_features, columns, dtype=torch.int8))
        self.register_buffer("weight_scale", torch.empty(scales, dtype=torch.float16))
        self.bias = nn.Parameter(torch.empty(out_features), requires_grad=False) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[…, in]`` to ``[…, out]``."""
        return kernels.linear(x, self.weight, self.weight_scale, self.bits, self.bias)


def use_quantized_linears(model: GLM, scheme: Scheme) -> None:
    """Put an empty ``QuantizedLinear`` in the place of each linear map of the layers, and one behind them if the
    output is quantised (same device)."""
    for path, module in list(model.named_modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.Linear):
                scales = scheme.num_scales(f"{path}.{name}.weight", child.in_features)
                with child.weight.device:
                    setattr(module, name, QuantizedLinear(child.in_features, child.out_features, scheme.bits, scales))
    if scheme.output_bits is not None:
        words, size = model.word_embeddings.weight.shape
        scales = scheme.num_scales(OUTPUT, size)
        with model.word_embeddings.weight.device:
            model.output = QuantizedLinear(size, words, scheme.output_bits, scales, bias=False)
