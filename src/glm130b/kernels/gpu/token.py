"""Attention of one token a row: rotation, the cache and the sum over it in one kernel."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from glm130b.kernels.gpu.tables import attention_splits

_BLOCK_SLOTS = 64
_HIDDEN = tl.constexpr(-1e30)


@triton.jit
def _turned(low, high, cos, sin, dtype: tl.constexpr):
    """Both halves after rotation, rounded as the cache rounds them."""
    first = (low * cos - high * sin).to(dtype)
    second = (high * cos + low * sin).to(dtype)
    return first, second


@triton.jit
def _attend(
    qkv_ptr, cos_ptr, sin_ptr, key_ptr, value_ptr, sample_ptr, branch_ptr, slot_ptr, out_ptr,
    part_ptr, stats_ptr, arrived_ptr, HEADS, CAPACITY, scale,
    SPLITS: tl.constexpr, SIZE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One head of one row against one stretch of the slots before ``slot``; the first stretch adds the token itself.

    With several stretches, the last program of a head to arrive puts together what all have left in ``part`` and
    ``stats`` (largest score, sum of weights), in the order of the stretches.
    """
    dtype: tl.constexpr = key_ptr.dtype.element_ty
    HALF: tl.constexpr = SIZE // 2
    pair = tl.program_id(0)
    part = tl.program_id(1)
    b = pair // HEADS
    slot = tl.load(slot_ptr).to(tl.int32)
    half, whole = tl.arange(0, HALF), tl.arange(0, SIZE)
    cos, sin = tl.load(cos_ptr + b * HALF + half).to(tl.float32), tl.load(sin_ptr + b * HALF + half).to(tl.float32)
    own = qkv_ptr + pair * (3 * SIZE)
    q_low, q_high = tl.load(own + half).to(tl.float32), tl.load(own + HALF + half).to(tl.float32)
    q_low, q_high = _turned(q_low, q_high, cos, sin, dtype)
    q_low, q_high = q_low.to(tl.float32) * scale, q_high.to(tl.float32) * scale
    keys = key_ptr + pair.to(tl.int64) * CAPACITY * SIZE
    values = value_ptr + pair.to(tl.int64) * CAPACITY * SIZE
    largest, total = tl.full([], _HIDDEN, tl.float32), tl.zeros([], tl.float32)
    acc = tl.zeros([SIZE], tl.float32)
    if part == 0:
        k_low, k_high = tl.load(own + SIZE + half).to(tl.float32), tl.load(own + SIZE + HALF + half).to(tl.float32)
        k_low, k_high = _turned(k_low, k_high, cos, sin, dtype)
        v = tl.load(own + 2 * SIZE + whole)
        tl.store(keys + slot * SIZE + half, k_low)
        tl.store(keys + slot * SIZE + HALF + half, k_high)
        tl.store(values + slot * SIZE + whole, v.to(dtype))
        largest = tl.sum(k_low.to(tl.float32) * q_low + k_high.to(tl.float32) * q_high)
        total += 1.0
        acc += v.to(tl.float32)
    own_sample, own_branch = tl.load(sample_ptr + b * CAPACITY + slot), tl.load(branch_ptr + b * CAPACITY + slot)
    stretch = tl.cdiv(tl.cdiv(slot, SPLITS), 16) * 16
    end = tl.minimum((part + 1) * stretch, slot)
    for start in range(part * stretch, end, BLOCK):
        k_slot = start + tl.arange(0, BLOCK)
        inside = k_slot < end
        branch = tl.load(branch_ptr + b * CAPACITY + k_slot, mask=inside, other=0)
        seen = inside & (tl.load(sample_ptr + b * CAPACITY + k_slot, mask=inside, other=-2) == own_sample)
        seen = seen & ((branch == 0) | (branch == own_branch))
        tile = k_slot[:, None] * SIZE
        k_low = tl.load(keys + tile + half[None, :], mask=inside[:, None], other=0.0).to(tl.float32)
        k_high = tl.load(keys + tile + HALF + half[None, :], mask=inside[:, None], other=0.0).to(tl.float32)
        v = tl.load(values + tile + whole[None, :], mask=inside[:, None], other=0.0).to(tl.float32)
        scores = tl.sum(k_low * q_low[None, :] + k_high * q_high[None, :], axis=1)
        scores = tl.where(seen, scores, _HIDDEN)
        new_largest = tl.maximum(largest, tl.max(scores, axis=0))
        weights = tl.where(seen, tl.exp(scores - new_largest), 0.0)
        shrink = tl.exp(largest - new_largest)
        total = total * shrink + tl.sum(weights, axis=0)
        acc = acc * shrink + tl.sum(weights[:, None] * v, axis=0)
        largest = new_largest
    if SPLITS == 1:
        tl.store(out_ptr + pair * SIZE + whole, (acc / total).to(out_ptr.dtype.element_ty))
    else:
        place = pair * SPLITS + part
        tl.store(part_ptr + place * SIZE + whole, acc)
        tl.store(stats_ptr + place * 2, largest)
        tl.store(stats_ptr + place * 2 + 1, total)
        tl.debug_barrier()
        arrived = tl.atomic_add(arrived_ptr + pair, 1, sem="acq_rel")
        if arrived == SPLITS - 1:
            tl.store(arrived_ptr + pair, 0)
            of_all = pair * SPLITS + tl.arange(0, SPLITS)
            peaks = tl.load(stats_ptr + of_all * 2, cache_modifier=".cg")
            shares = tl.exp(peaks - tl.max(peaks, axis=0))
            total_of_all = tl.sum(tl.load(stats_ptr + of_all * 2 + 1, cache_modifier=".cg") * shares, axis=0)
            parts = tl.load(part_ptr + of_all[:, None] * SIZE + whole[None, :], cache_modifier=".cg")
            out = tl.sum(parts * shares[:, None], axis=0) / total_of_all
            tl.store(out_ptr + pair * SIZE + whole, out.to(out_ptr.dtype.element_ty))


def attend_token(
    qkv: Tensor,
    cos: Tensor,
    sin: Tensor,
    keys: Tensor,
    values: Tensor,
    sample: Tensor,
    branch: Tensor,
    slot: Tensor,
    arrived: Tensor,
) -> Tensor:
    """Rotate one token of each row, put its key and value into the cache, and attend over what it sees of it.

    Args:
        qkv: ``[B, h * 3 d]``, head by head; d is a power of two.
        cos, sin: of the tokens' positions, ``[B, d / 2]``.
        keys, values: the cache's, ``[B, h, capacity, d]``.
        sample, branch: of every slot, this token's own included, integers ``[B, capacity]``.
        slot: of this token in every row, one integer on the device; later slots are not looked at.
        arrived: zeros, int32, at least ``B * h``; zeros again afterwards. What runs at once must not share them.

    Returns:
        ``[B, h * d]``.
    """
    rows, heads, capacity, size = keys.shape
    splits = attention_splits(rows * heads, capacity)
    out = torch.empty(rows, heads * size, dtype=qkv.dtype, device=qkv.device)
    parts, stats = out, out
    if splits > 1:
        parts = torch.empty(rows * heads, splits, size, dtype=torch.float32, device=qkv.device)
        stats = torch.empty(rows * heads, splits, 2, dtype=torch.float32, device=qkv.device)
    _attend[(rows * heads, splits)](
        qkv, cos, sin, keys, values, sample, branch, slot, out, parts, stats, arrived, heads, capacity, size**-0.5,
        SPLITS=splits, SIZE=size, BLOCK=_BLOCK_SLOTS, num_warps=4,
    )  # fmt: skip
    return out
