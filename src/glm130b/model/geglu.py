"""GeGLU: the first half of the expanded tensor times the GELU (erf form) of the second.

(Shazeer, GLU Variants Improve Transformer; which half is which as in the official GLM-130B code.)
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


class _GeGLU(torch.autograd.Function):
    """The gradients of both halves are written into one tensor, which saves joining them."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        value, gate = x.chunk(2, dim=-1)
        activated = F.gelu(gate)
        ctx.save_for_backward(x, activated)
        return value * activated

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        x, activated = ctx.saved_tensors
        value, gate = x.chunk(2, dim=-1)
        out = torch.empty_like(x)
        out_value, out_gate = out.chunk(2, dim=-1)
        torch.mul(grads[0], activated, out=out_value)
        torch.ops.aten.gelu_backward.grad_input(grads[0] * value, gate, grad_input=out_gate)
        return out


def geglu(x: Tensor) -> Tensor:
    """Map ``[…, 2 I]`` to ``[…, I]``."""
    if torch.compiler.is_compiling():  # a compiler fuses the formula, and cannot see through writing into views
        value, gate = x.chunk(2, dim=-1)
        return value * F.gelu(gate)
    out: Tensor = _GeGLU.apply(x)  # type: ignore[no-untyped-call]
    return out
