"""The rule of two integers a token, in every form it takes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glm130b.model import GLM, KVCache
from glm130b.model.attention import attend, make_visibility


@st.composite
def packed(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor]:
    """Samples in any arrangement: padding, contexts, several branches."""
    length = draw(st.integers(1, 20))
    sample = draw(st.lists(st.integers(-1, 2), min_size=length, max_size=length))
    branch = draw(st.lists(st.integers(0, 3), min_size=length, max_size=length))
    return torch.tensor([sample]), torch.tensor([branch])


def slow_visible(sample: list[int], branch: list[int], q: int, k: int) -> bool:
    if sample[q] != sample[k]:
        return False
    if branch[k] == 0:
        return True
    return branch[k] == branch[q] and k <= q


@given(packed())
def test_dense_mask_is_the_rule(case: tuple[torch.Tensor, torch.Tensor]) -> None:
    sample, branch = case
    mask = make_visibility(sample, branch, backend="sdpa").mask
    assert mask is not None
    for q in range(sample.shape[1]):
        for k in range(sample.shape[1]):
            assert mask[0, 0, q, k] == slow_visible(sample[0].tolist(), branch[0].tolist(), q, k)


@pytest.mark.filterwarnings("ignore:flex_attention called without")
@settings(max_examples=15, deadline=None)
@given(packed(), st.integers(0, 1000))
@pytest.mark.slow
def test_flex_attention_equals_sdpa_and_the_formula(case: tuple[torch.Tensor, torch.Tensor], seed: int) -> None:
    sample, branch = case
    generator = torch.Generator().manual_seed(seed)
    q, k, v = (torch.randn(1, 2, sample.shape[1], 16, generator=generator) for _ in range(3))
    dense = make_visibility(sample, branch, backend="sdpa")
    expected = attend(q, k, v, dense)
    flex = attend(q, k, v, make_visibility(sample, branch, backend="flex"))
    formula = attend(q, k, v, dense, drop=lambda weights: weights)
    assert torch.allclose(flex, expected, atol=2e-6)
    assert torch.allclose(formula, expected, atol=2e-6)


@st.composite
def segmented(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor]:
    """Two rows of packed samples, each context first, then answers of one or more branches; padded."""
    rows = []
    for _ in range(2):
        sample, branch = [], []
        for number in range(draw(st.integers(0, 3))):
            parts = [draw(st.integers(0, 4)), *draw(st.lists(st.integers(1, 4), max_size=3))]
            branch += [n for n, size in enumerate(parts) for _ in range(size)]
            sample += [number] * sum(parts)
            padding = draw(st.integers(0, 2))
            sample, branch = sample + [-1] * padding, branch + [0] * padding
        rows.append((sample, branch))
    length = max(1, *(len(sample) for sample, _ in rows))
    return tuple(  # type: ignore[return-value]
        torch.tensor([row[n] + [fill] * (length - len(row[n])) for row in rows]) for n, fill in ((0, -1), (1, 0))
    )


@settings(max_examples=60, deadline=None)
@given(segmented(), st.integers(0, 1000))
def test_segments_equal_the_dense_mask(case: tuple[torch.Tensor, torch.Tensor], seed: int) -> None:
    sample, branch = case
    generator = torch.Generator().manual_seed(seed)
    qkv = [torch.randn(2, 3, sample.shape[1], 16, generator=generator, requires_grad=True) for _ in range(3)]
    upstream = torch.randn(2, 3, sample.shape[1], 16, generator=generator) * (sample >= 0)[:, None, :, None]
    segments = make_visibility(sample, branch, backend="segments")
    assert segments.parts is not None
    found = []
    for visibility in (segments, make_visibility(sample, branch, backend="sdpa")):
        out = attend(*qkv, visibility)
        found.append([out * (sample >= 0)[:, None, :, None], *torch.autograd.grad(out, qkv, upstream)])
    for ours, theirs in zip(*found, strict=True):
        assert torch.allclose(ours, theirs, atol=3e-6)


@given(packed())
def test_any_other_layout_falls_back(case: tuple[torch.Tensor, torch.Tensor]) -> None:
    """Parts, where there are any, cover the rule exactly."""
    sample, branch = case
    visibility = make_visibility(sample, branch, backend="segments")
    if visibility.parts is None:
        assert visibility.mask is not None
        return
    length = sample.shape[1]
    seen = torch.zeros(length, length, dtype=torch.bool)
    for part in visibility.parts:
        shown = torch.ones(part.end - part.start, part.end - part.first, dtype=torch.bool)
        seen[part.start : part.end, part.first : part.end] = shown if part.mask is None else part.mask == 0
    for q in range(length):
        for k in range(length):
            expected = sample[0, q] >= 0 and slow_visible(sample[0].tolist(), branch[0].tolist(), q, k)
            assert seen[q, k] == expected


def test_samples_and_branches_do_not_leak(tiny: GLM) -> None:
    """What a token may not see cannot change its logits, bit by bit."""
    sample = torch.tensor([[0, 0, 0, 0, 0, 0, 1, 1, 1, -1]])
    branch = torch.tensor([[0, 0, 1, 1, 2, 2, 0, 0, 1, 0]])
    tokens = torch.arange(10)[None]
    position_ids = torch.tensor([[0, 1, 1, 1, 1, 1, 0, 1, 1, 0]])
    before = tiny(tokens, position_ids, sample, branch)
    for changed in range(10):
        other = tokens.clone()
        other[0, changed] = 33
        moved = (tiny(other, position_ids, sample, branch) != before).any(-1)[0]
        for q in range(10):
            if not slow_visible(sample[0].tolist(), branch[0].tolist(), q, changed) and q != changed:
                # A hidden token can still act by way of one that is seen, but only inside its own sample.
                indirect = any(
                    slow_visible(sample[0].tolist(), branch[0].tolist(), middle, changed)
                    and slow_visible(sample[0].tolist(), branch[0].tolist(), q, middle)
                    for middle in range(10)
                )
                assert indirect or not moved[q], (changed, q)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 12), st.lists(st.integers(1, 3), min_size=1, max_size=5), st.integers(0, 100))
def test_cached_reading_equals_reading_all_at_once(context: int, steps: list[int], seed: int) -> None:
    from support import TINY

    from glm130b.model import build_model

    model = build_model(TINY, seed=seed)
    length = context + sum(steps)
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(0, TINY.vocab_size, (2, length), generator=generator)
    branch = (torch.arange(length) >= context).long().expand(2, -1)
    sample = torch.zeros_like(tokens)
    sample[1, 0] = -1  # the second text is padded by one
    position_ids = torch.arange(length).expand(2, -1)
    with torch.no_grad():
        whole = model(tokens, position_ids, sample, branch)
        cache = KVCache(TINY, batch=2, capacity=length)
        parts, start = [], 0
        for size in (context, *steps):
            part = slice(start, start + size)
            parts.append(model(tokens[:, part], position_ids[:, part], sample[:, part], branch[:, part], cache=cache))
            start += size
    cached = torch.cat(parts, dim=1)
    assert (cached - whole)[sample >= 0].abs().max() < 1e-5


def test_a_full_cache_refuses_more() -> None:
    from support import TINY

    cache = KVCache(TINY, batch=1, capacity=3)
    cache.reserve(torch.zeros(1, 2, dtype=torch.long), torch.zeros(1, 2, dtype=torch.long))
    with pytest.raises(ValueError, match="holds 3 tokens, 4 are needed"):
        cache.reserve(torch.zeros(1, 2, dtype=torch.long), torch.zeros(1, 2, dtype=torch.long))


def test_logits_only_at_rows(tiny: GLM) -> None:
    tokens = torch.arange(12).view(2, 6)
    inputs = (tokens, torch.arange(6).expand(2, -1), torch.zeros_like(tokens), torch.ones_like(tokens))
    rows = torch.tensor([1, 4, 9])
    assert torch.allclose(tiny(*inputs, rows=rows), tiny(*inputs).flatten(0, 1)[rows], atol=1e-6)


def test_scores_of_late_layers_stay_in_range() -> None:
    """FP16 scores that would overflow are held divided by the layer's number, and the softmax does not change."""
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, 2, 5, 16, generator=generator) for _ in range(3))
    sample = torch.zeros(1, 5, dtype=torch.int64)
    rule = make_visibility(sample, sample, backend="sdpa")
    for layer in (0, 69):
        out = attend(q, k, v, rule, drop=lambda weights: weights, layer=layer)
        assert torch.allclose(out, attend(q, k, v, rule), atol=1e-6)
    large = (torch.full_like(q, 300.0).half(), torch.full_like(k, 300.0).half(), v.half())
    assert attend(*large, rule, drop=lambda weights: weights).isnan().any()  # 300 * 300 * 16 / 4 overflows
    assert attend(*large, rule, drop=lambda weights: weights, layer=69).isfinite().all()
