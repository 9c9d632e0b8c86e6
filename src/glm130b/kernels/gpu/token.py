"""The rest of a transformer layer for one token a row: what would be a dozen small kernels, as two."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from glm130b.kernels.gpu.tables import attention_splits

_BLOCK_SLOTS = 64
_HIDDEN = tl.constexpr(-1e30)


@triton.jit
def _add_and_norm(
    y_ptr, u_ptr, weight_ptr, bias_ptr, out_ptr, alpha, epsilon, SIZE, ADD: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    row = tl.program_id(0)
    place = tl.arange(0, BLOCK)
    mask = place < SIZE
    x = tl.load(y_ptr + row * SIZE + place, mask=mask, other=0.0).to(tl.float32)
    if ADD:
        x += alpha * tl.load(u_ptr + row * SIZE + place, mask=mask, other=0.0).to(tl.float32)
    mean = tl.sum(x) / SIZE
    centred = tl.where(mask, x - mean, 0.0)
    x = centred * tl.rsqrt(tl.sum(centred * centred) / SIZE + epsilon)
    x = x * tl.load(weight_ptr + place, mask=mask).to(tl.float32) + tl.load(bias_ptr + place, mask=mask).to(tl.float32)
    tl.store(out_ptr + row * SIZE + place, x.to(out_ptr.dtype.element_ty), mask=mask)


def add_and_norm(
    y: Tensor, u: Tensor | None, weight: Tensor, bias: Tensor, *, alpha: float = 1.0, epsilon: float = 1e-5
) -> Tensor:
    """LayerNorm of ``y + alpha u``, rows ``[B, H]``; without ``u``, of ``y``. Sums in FP32."""
    y, size = y.contiguous(), y.shape[-1]
    block = triton.next_power_of_2(size)
    out = torch.empty_like(y)
    _add_and_norm[(len(y),)](
        y, y if u is None else u, weight, bias, out, alpha, epsilon, size,
        ADD=u is not None, BLOCK=block, num_warps=min(16, max(1, block // 512)),
    )  # fmt: skip
    return out


@triton.jit
def _turned(low, high, cos, sin, dtype: tl.constexpr):
    """Both halves after rotation, rounded as the cache rounds them."""
    first = (low * cos - high * sin).to(dtype)
    second = (high * cos + low * sin).to(dtype)
    return first, second


@triton.jit
def _attend(
    qkv_ptr, cos_ptr, sin_ptr, key_ptr, value_ptr, sample_ptr, branch_ptr, slot_ptr, out_ptr, stats_ptr,
    HEADS, CAPACITY, scale, SPLITS: tl.constexpr, SIZE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One head of one row against one stretch of the slots before ``slot``; the first stretch adds the token itself.

    With several stretches, ``out`` and ``stats`` (largest score, sum of weights) are of each, to be put together.
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
    stretch = tl.cdiv(tl.cdiv(slot, SPLITS), BLOCK) * BLOCK
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
        tl.store(out_ptr + place * SIZE + whole, acc)
        tl.store(stats_ptr + place * 2, largest)
        tl.store(stats_ptr + place * 2 + 1, total)


@triton.jit
def _join(part_ptr, stats_ptr, out_ptr, SPLITS: tl.constexpr, SIZE: tl.constexpr):
    """Put the stretches of a head together."""
    pair = tl.program_id(0)
    part, whole = tl.arange(0, SPLITS), tl.arange(0, SIZE)
    largest = tl.load(stats_ptr + (pair * SPLITS + part) * 2)
    shrink = tl.exp(largest - tl.max(largest, axis=0))
    total = tl.sum(tl.load(stats_ptr + (pair * SPLITS + part) * 2 + 1) * shrink, axis=0)
    parts = tl.load(part_ptr + (pair * SPLITS + part)[:, None] * SIZE + whole[None, :])
    out = tl.sum(parts * shrink[:, None], axis=0) / total
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
) -> Tensor:
    """Rotate one token of each row, put its key and value into the cache, and attend over what it sees of it.

    Args:
        qkv: ``[B, h * 3 d]``, head by head; d is a power of two.
        cos, sin: of the tokens' positions, ``[B, d / 2]``.
        keys, values: the cache's, ``[B, h, capacity, d]``.
        sample, branch: of every slot, this token's own included, integers ``[B, capacity]``.
        slot: of this token in every row, one integer on the device; later slots are not looked at.

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
        qkv, cos, sin, keys, values, sample, branch, slot, parts, stats, heads, capacity, size**-0.5,
        SPLITS=splits, SIZE=size, BLOCK=_BLOCK_SLOTS, num_warps=4,
    )  # fmt: skip
    if splits > 1:
        _join[(rows * heads,)](parts, stats, out, SPLITS=splits, SIZE=size, num_warps=1)
    return out
