"""The fused operations against the formulas they stand for, gradients included."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from glm130b.model.geglu import geglu
from glm130b.model.rope import inverse_frequencies, rotary_tables, split_and_rotate


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 5), st.integers(1, 9), st.integers(0, 1000))
def test_geglu(rows: int, width: int, seed: int) -> None:
    x = torch.randn(rows, 2 * width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    assert torch.autograd.gradcheck(geglu, x.requires_grad_())
    value, gate = x.chunk(2, dim=-1)
    assert torch.allclose(geglu(x), value * F.gelu(gate))


def rotate_slowly(x_BShd: torch.Tensor, positions: torch.Tensor, base: float) -> torch.Tensor:
    """Pair by pair, as complex numbers."""
    half = x_BShd.shape[-1] // 2
    out = torch.empty_like(x_BShd)
    for i in range(half):
        turn = torch.polar(torch.ones(()).double(), (positions * base ** (-i / half)).double())
        pair = torch.complex(x_BShd[..., i], x_BShd[..., i + half]) * turn[..., None]
        out[..., i], out[..., i + half] = pair.real, pair.imag
    return out


@settings(deadline=None, max_examples=8)
@given(st.integers(1, 3), st.integers(1, 6), st.integers(1, 3), st.integers(1, 4), st.integers(0, 1000))
def test_split_and_rotate(batch: int, length: int, heads: int, half: int, seed: int) -> None:
    size = 2 * half
    generator = torch.Generator().manual_seed(seed)
    qkv = torch.randn(batch, length, heads, 3 * size, generator=generator, dtype=torch.float64)
    positions = torch.randint(0, 50, (batch, length), generator=generator)
    tables = rotary_tables(positions, inverse_frequencies(size, 10000.0, "fp32").double())
    tables = (tables[0].double(), tables[1].double())
    q, k, v = split_and_rotate(qkv, tables)
    assert torch.allclose(q.transpose(1, 2), rotate_slowly(qkv[..., :size], positions, 10000.0), atol=1e-5)
    assert torch.allclose(k.transpose(1, 2), rotate_slowly(qkv[..., size : 2 * size], positions, 10000.0), atol=1e-5)
    assert torch.equal(v.transpose(1, 2), qkv[..., 2 * size :])
    assert torch.autograd.gradcheck(lambda x: split_and_rotate(x, tables), qkv.requires_grad_())
