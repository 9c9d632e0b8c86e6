"""The rest of a layer for one token, against the model's own functions; in Triton's interpreter without a GPU."""

from __future__ import annotations

import os

import pytest
import torch
import torch.nn.functional as F

os.environ.setdefault("TRITON_INTERPRET", "0" if torch.cuda.is_available() else "1")
pytest.importorskip("triton")

from glm130b.kernels.gpu.norm import AddNorm, add_and_norm
from glm130b.kernels.gpu.token import attend_token
from glm130b.model.attention import visible
from glm130b.model.rope import inverse_frequencies, rotary_tables, split_and_rotate

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.mark.parametrize("size", [64, 96])
def test_norm_of_a_sum(size: int) -> None:
    y, u = torch.randn(2, 3, size, device=DEVICE)
    weight, bias = torch.randn(2, size, device=DEVICE)
    expected = F.layer_norm((y + 1.7 * u).double(), (size,), weight.double(), bias.double(), 1e-5)
    found = add_and_norm(y + 0.0, AddNorm(u, weight, bias, alpha=1.7, epsilon=1e-5))
    assert (found - expected).abs().max() < 1e-5


@pytest.mark.parametrize(("slot", "capacity"), [(0, 40), (1, 40), (39, 40), (64, 600), (300, 600)])
def test_attention_of_one_token(slot: int, capacity: int) -> None:
    """Padding, another branch and what lies behind the slot stay hidden; short caches and several stretches."""
    rows, heads, size = 2, 3, 16
    keys, values = torch.randn(2, rows, heads, capacity, size, device=DEVICE)
    sample = torch.zeros(rows, capacity, dtype=torch.long, device=DEVICE)
    branch = torch.zeros(rows, capacity, dtype=torch.long, device=DEVICE)
    if slot > 20:
        sample[1, 5:9] = -1
        branch[:, slot - 7 :] = 1
        branch[0, 10:13] = 2
    qkv = torch.randn(rows, heads * 3 * size, device=DEVICE)
    positions = torch.tensor([[33], [12]], device=DEVICE)
    tables = rotary_tables(positions, inverse_frequencies(size, 10000.0, "fp32").to(DEVICE))
    q, k, v = split_and_rotate(qkv.view(rows, 1, heads, 3 * size), tables)
    all_keys, all_values = keys.clone(), values.clone()
    all_keys[:, :, slot : slot + 1], all_values[:, :, slot : slot + 1] = k, v
    mask = visible(
        sample[:, slot, None],
        branch[:, slot, None],
        torch.tensor(slot, device=DEVICE),
        sample,
        branch,
        torch.arange(capacity, device=DEVICE),
    ) & (torch.arange(capacity, device=DEVICE) <= slot)
    attended = F.scaled_dot_product_attention(q, all_keys, all_values, attn_mask=mask[:, None, None])
    cos, sin = (table.flatten(1) for table in tables)
    place = torch.tensor([slot], device=DEVICE)
    arrived = torch.zeros(rows * heads, dtype=torch.int32, device=DEVICE)
    found = attend_token(qkv, cos, sin, keys, values, sample, branch, place, arrived)
    assert not arrived.any()
    assert (found - attended.transpose(1, 2).flatten(1)).abs().max() < 1e-5
    assert (keys - all_keys).abs().max() < 1e-6
    assert torch.equal(values, all_values)
