"""Who sees whom, and attention under that rule.

Shapes: B batch, Q queries, K keys, h heads, d dimensions of a head.

Every token carries ``sample`` (which packed sample it belongs to, -1 for padding) and ``branch`` (0 for
context, 1, 2, … for generated parts that do not see one another). A query sees a key iff both are of the
same sample, and the key is context or is of the query's branch and not later. ``[MASK]``, ``[gMASK]``,
packed windows, one-way text, options scored side by side and decoding are all this one rule.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from glm130b.model.segments import Part, find_parts, segment_attention

Backend = Literal["auto", "sdpa", "segments", "flex"]

_FLEX_MIN_LENGTH = 1024


def visible(
    q_sample: Tensor, q_branch: Tensor, q_slot: Tensor, k_sample: Tensor, k_branch: Tensor, k_slot: Tensor
) -> Tensor:
    """The rule, elementwise on integers that broadcast; True where the query sees the key."""
    return (q_sample == k_sample) & ((k_branch == 0) | ((q_branch == k_branch) & (k_slot <= q_slot)))


@dataclass(frozen=True)
class Visibility:
    """The rule in the form one backend wants, made once and used by every layer.

    One is set, or none where a layer makes the rule for itself (``model/streaming.py``): ``mask``, boolean
    ``[B, 1, Q, K]``, True where visible; ``parts``, see ``model/segments.py``; or ``block_mask``, FlexAttention's.
    """

    mask: Tensor | None = None
    parts: Sequence[Part] | None = None
    block_mask: Any = None

    def to(self, device: torch.device) -> Visibility:
        """The same on another device."""
        return Visibility(
            mask=None if self.mask is None else self.mask.to(device),
            parts=self.parts,
            block_mask=None if self.block_mask is None else self.block_mask.to(device),
        )


def make_visibility(
    sample: Tensor,
    branch: Tensor,
    *,
    first_slot: int = 0,
    k_sample: Tensor | None = None,
    k_branch: Tensor | None = None,
    backend: Backend = "auto",
) -> Visibility:
    """Prepare the rule for queries ``[B, Q]`` and keys ``[B, K]`` (default: the queries themselves).

    Args:
        sample, branch: of the queries.
        first_slot: slot of the first query; keys start at slot 0.
        k_sample, k_branch: of all keys, cached ones included.
        backend: ``sdpa`` is scaled_dot_product_attention with a dense mask; ``segments`` (CPU) and
            ``flex`` (FlexAttention) skip what is hidden. ``auto`` takes ``segments`` for whole sequences
            on a CPU where their layout allows, ``flex`` for long ones on CUDA, and else ``sdpa``.
    """
    whole = k_sample is None
    k_sample = sample if k_sample is None else k_sample
    k_branch = branch if k_branch is None else k_branch
    num_queries, num_keys = sample.shape[1], k_sample.shape[1]
    if backend == "auto":
        backend = "flex" if sample.is_cuda and whole and num_keys >= _FLEX_MIN_LENGTH else "sdpa"
        if sample.device.type == "cpu" and whole:
            backend = "segments"
    if backend == "flex":
        return Visibility(block_mask=_block_mask(sample, branch, first_slot, k_sample, k_branch))
    if backend == "segments" and (parts := find_parts(sample, branch)) is not None:
        return Visibility(parts=parts)
    q_slot = torch.arange(first_slot, first_slot + num_queries, device=sample.device)
    k_slot = torch.arange(num_keys, device=sample.device)
    mask = visible(
        sample[:, :, None],
        branch[:, :, None],
        q_slot[None, :, None],
        k_sample[:, None, :],
        k_branch[:, None, :],
        k_slot[None, None, :],
    )
    return Visibility(mask=mask[:, None])


def _block_mask(sample: Tensor, branch: Tensor, first_slot: int, k_sample: Tensor, k_branch: Tensor) -> Any:
    from torch.nn.attention.flex_attention import create_block_mask

    def rule(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        return visible(sample[b, q], branch[b, q], q + first_slot, k_sample[b, k], k_branch[b, k], k)

    return create_block_mask(rule, sample.shape[0], None, sample.shape[1], k_sample.shape[1], device=str(sample.device))


@cache
def _flex_attention(compiled: bool) -> Callable[..., Tensor]:
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention) if compiled else flex_attention  # type: ignore[return-value]


def attend(
    q_BhQd: Tensor,
    k_BhKd: Tensor,
    v_BhKd: Tensor,
    visibility: Visibility,
    drop: Callable[[Tensor], Tensor] | None = None,
    layer: int = 0,
) -> Tensor:
    """Softmax attention ``[B, h, Q, d]``; scores are scaled by d^(-1/2), the softmax is in FP32.

    Args:
        drop: applied to the attention probabilities; None for no dropout.
        layer: its number n. Where scores are held in the precision of the inputs, queries are divided by n + 1
            and the scores multiplied back in FP32, as in the official code, which keeps FP16 products in range.
            The fused kernels hold their scores in FP32 and need none of that.
    """
    if visibility.block_mask is not None and drop is None:
        return _flex_attention(q_BhQd.is_cuda)(q_BhQd, k_BhKd, v_BhKd, block_mask=visibility.block_mask)
    if visibility.parts is not None and drop is None:
        return segment_attention(q_BhQd, k_BhKd, v_BhKd, visibility.parts)
    mask_B1QK = visibility.mask
    if mask_B1QK is None:
        raise ValueError("dropout on attention probabilities needs the dense rule: use backend='sdpa'")
    if drop is None:
        return F.scaled_dot_product_attention(q_BhQd, k_BhKd, v_BhKd, attn_mask=mask_B1QK)
    shrink = layer + 1
    scores_BhQK = torch.matmul(q_BhQd * (q_BhQd.shape[-1] ** -0.5 / shrink), k_BhKd.transpose(-1, -2)).float() * shrink
    weights_BhQK = torch.softmax(scores_BhQK.masked_fill(~mask_B1QK, -10000.0), dim=-1)
    return torch.matmul(drop(weights_BhQK).to(v_BhKd.dtype), v_BhKd)
