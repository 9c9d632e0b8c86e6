"""Cross-entropy at the target places, without ever holding all logits."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_CHUNK = 256
_CUDA_LOGITS = 2**26
"""Logits held at once: on a CPU few rows, which stay in its caches; on a GPU enough to fill it."""


class _LinearCrossEntropy(torch.autograd.Function):
    """Output layer and cross-entropy in one: the gradients are made chunk by chunk in the forward pass."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, row_weights: Tensor
    ) -> tuple[Tensor, Tensor]:
        needs_grad = hidden.requires_grad or weight.requires_grad
        matrix = weight.to(hidden.dtype)
        losses = torch.empty(len(targets), dtype=torch.float32, device=hidden.device)
        grad_hidden = torch.empty_like(hidden) if needs_grad else None
        grad_weight = torch.zeros_like(weight) if needs_grad else None
        chunk = _CHUNK if hidden.device.type == "cpu" else max(_CHUNK, _CUDA_LOGITS // len(weight))
        room = torch.empty(chunk, weight.shape[0], dtype=hidden.dtype, device=hidden.device)
        for start in range(0, len(targets), chunk):
            rows = slice(start, start + chunk)
            part, target = hidden[rows], targets[rows, None]
            logits = torch.mm(part, matrix.t(), out=room[: len(part)]).float()
            largest = logits.amax(dim=1, keepdim=True)
            at_target = logits.gather(1, target)
            exponentials = logits.sub_(largest).exp_()
            total = exponentials.sum(dim=1, keepdim=True)
            losses[rows] = (total.log() + largest - at_target)[:, 0]
            if grad_hidden is not None and grad_weight is not None:
                scale = row_weights[rows, None]
                error = exponentials.mul_(scale / total)
                error.scatter_add_(1, target, -scale)
                error = error.to(hidden.dtype)
                torch.mm(error, matrix, out=grad_hidden[rows])
                if grad_weight.dtype == error.dtype:
                    grad_weight.addmm_(error.t(), part)
                else:
                    grad_weight += torch.mm(error.t(), part)
        ctx.save_for_backward(grad_hidden, grad_weight)
        ctx.mark_non_differentiable(losses)
        return (losses * row_weights).sum(), losses

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None]:
        grad_hidden, grad_weight = ctx.saved_tensors
        return grad_hidden.mul_(grads[0]), grad_weight.mul_(grads[0]), None, None


def linear_cross_entropy(hidden: Tensor, weight: Tensor, targets: Tensor, row_weights: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted sum of the cross-entropies of ``hidden @ weight.T`` against ``targets``.

    Equal to ``(row_weights * F.cross_entropy(hidden @ weight.T, targets, reduction="none")).sum()``; the
    softmax is in FP32 whatever the dtype of ``hidden``. May be differentiated once.

    Args:
        hidden: ``[N, H]``.
        weight: ``[V, H]``, of the same or of higher precision.
        targets: int64 ``[N]``.
        row_weights: FP32 ``[N]``.

    Returns:
        The sum, FP32, and the cross-entropy of each row, FP32 ``[N]`` without gradient.
    """
    with torch.autocast(hidden.device.type, enabled=False):
        result: tuple[Tensor, Tensor] = _LinearCrossEntropy.apply(hidden, weight, targets, row_weights)  # type: ignore[no-untyped-call]
    return result


class _ScaleGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0] * ctx.factor, None


def scale_gradient(x: Tensor, factor: float) -> Tensor:
    """``factor * x + (1 - factor) * x.detach()`` to the last bit of ``x`` (GLM-130B, section 2.1, EGS)."""
    if factor == 1.0:
        return x
    scaled: Tensor = _ScaleGradient.apply(x, factor)  # type: ignore[no-untyped-call]
    return scaled
