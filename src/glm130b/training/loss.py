"""Cross-entropy at the target places, without ever holding all logits."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

_CHUNK = 256
_CUDA_LOGITS = 2**26
"""Logits held at once: on a CPU few rows, which stay in its caches; on a GPU enough to fill it."""


class _LinearCrossEntropy(torch.autograd.Function):
    """Output layer and cross-entropy in one: the gradients are made chunk by chunk in the forward pass."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        targets: Tensor,
        row_weights: Tensor,
        group: dist.ProcessGroup | None,
    ) -> tuple[Tensor, Tensor]:
        needs_grad = hidden.requires_grad or weight.requires_grad
        matrix = weight.to(hidden.dtype)
        losses = torch.empty(len(targets), dtype=torch.float32, device=hidden.device)
        grad_hidden = torch.empty_like(hidden) if needs_grad else None
        grad_weight = torch.zeros_like(weight, dtype=torch.float32) if needs_grad else None
        chunk = _CHUNK if hidden.device.type == "cpu" else max(_CHUNK, _CUDA_LOGITS // len(weight))
        room = torch.empty(chunk, weight.shape[0], dtype=hidden.dtype, device=hidden.device)
        for start in range(0, len(targets), chunk):
            rows = slice(start, start + chunk)
            part = hidden[rows]
            target, here = _in_shard(targets[rows, None], len(weight), group)
            logits = torch.mm(part, matrix.t(), out=room[: len(part)]).float()
            largest = _over_shards(logits.amax(dim=1, keepdim=True), dist.ReduceOp.MAX, group)
            at_target = logits.gather(1, target) * here
            exponentials = logits.sub_(largest).exp_()
            sums = torch.cat((exponentials.sum(dim=1, keepdim=True), at_target), dim=1)
            total, at_target = torch.split(_over_shards(sums, dist.ReduceOp.SUM, group), 1, dim=1)
            losses[rows] = (total.log() + largest - at_target)[:, 0]
            if grad_hidden is not None and grad_weight is not None:
                scale = row_weights[rows, None]
                error = exponentials.mul_(scale / total)
                error.scatter_add_(1, target, -scale * here)
                error = error.to(hidden.dtype)
                torch.mm(error, matrix, out=grad_hidden[rows])
                if grad_weight.dtype == error.dtype:
                    grad_weight.addmm_(error.t(), part)
                else:
                    grad_weight += torch.mm(error.t(), part)
        ctx.save_for_backward(grad_hidden, None if grad_weight is None else grad_weight.to(weight.dtype))
        ctx.mark_non_differentiable(losses)
        return (losses * row_weights).sum(), losses

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        grad_hidden, grad_weight = ctx.saved_tensors
        return grad_hidden * grads[0], grad_weight * grads[0], None, None, None


def _in_shard(target: Tensor, num_words: int, group: dist.ProcessGroup | None) -> tuple[Tensor, Tensor | float]:
    """Ids counted from the first word of this rank's shard, and 1 where they lie in it, else 0."""
    if group is None:
        return target, 1.0
    local = target - dist.get_rank(group) * num_words
    here = (local >= 0) & (local < num_words)
    return local.where(here, 0), here.float()


def _over_shards(tensor: Tensor, kind: Any, group: dist.ProcessGroup | None) -> Tensor:
    if group is not None:
        dist.all_reduce(tensor, kind, group=group)
    return tensor


def linear_cross_entropy(
    hidden: Tensor, weight: Tensor, targets: Tensor, row_weights: Tensor, group: dist.ProcessGroup | None = None
) -> tuple[Tensor, Tensor]:
    """Weighted sum of the cross-entropies of ``hidden @ weight.T`` against ``targets``.

    Equal to ``(row_weights * F.cross_entropy(hidden @ weight.T, targets, reduction="none")).sum()``; the
    softmax is in FP32 whatever the dtype of ``hidden``.

    Args:
        hidden: ``[N, H]``.
        weight: ``[V, H]``, of the same or of higher precision.
        targets: int64 ``[N]``.
        row_weights: FP32 ``[N]``.
        group: ranks that each hold an equal share of the words, in their order; ``weight`` is this rank's, and
            so is the gradient of ``hidden``, which their sum makes whole.

    Returns:
        The sum, FP32, and the cross-entropy of each row, FP32 ``[N]`` without gradient; the same on each rank.
    """
    result: tuple[Tensor, Tensor] = _LinearCrossEntropy.apply(hidden, weight, targets, row_weights, group)  # type: ignore[no-untyped-call]
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
