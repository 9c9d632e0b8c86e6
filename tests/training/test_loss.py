"""The fused loss against the plain formula in float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from glm130b.training import loss as loss_module
from glm130b.training.loss import linear_cross_entropy, scale_gradient


def plain(hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    return (F.cross_entropy(hidden @ weight.t(), targets, reduction="none") * weights).sum()


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 30), st.integers(1, 8), st.integers(2, 40), st.integers(1, 12), st.integers(0, 1000))
def test_value_and_gradients(rows: int, width: int, vocab: int, chunk: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(rows, width, generator=generator, requires_grad=True)
    weight = torch.randn(vocab, width, generator=generator, requires_grad=True)
    targets = torch.randint(0, vocab, (rows,), generator=generator)
    weights = torch.rand(rows, generator=generator)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loss_module, "_CHUNK", chunk)
        value, by_row = linear_cross_entropy(hidden, weight, targets, weights)
    (3 * value).backward()
    exact = [tensor.detach().double().requires_grad_() for tensor in (hidden, weight)]
    expected = plain(exact[0], exact[1], targets, weights.double())
    (3 * expected).backward()
    assert value.item() == pytest.approx(expected.item(), rel=1e-5, abs=1e-5)
    assert (by_row * weights).sum().item() == pytest.approx(value.item(), rel=1e-5, abs=1e-6)
    for ours, theirs in zip((hidden, weight), exact, strict=True):
        assert torch.allclose(ours.grad.double(), theirs.grad, atol=1e-4)  # type: ignore[union-attr]


def test_large_logits_do_not_overflow() -> None:
    hidden = torch.tensor([[100.0, 0.0]], requires_grad=True)
    weight = torch.tensor([[100.0, 0.0], [-100.0, 0.0]])
    value, _ = linear_cross_entropy(hidden, weight, torch.tensor([1]), torch.ones(1))
    assert value.item() == pytest.approx(20000.0)


def test_bf16_hidden_states(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(7, 16, generator=generator).bfloat16().requires_grad_()
    weight = torch.randn(30, 16, generator=generator, requires_grad=True)
    targets, weights = torch.arange(7), torch.full((7,), 1 / 7)
    monkeypatch.setattr(loss_module, "_CHUNK", 3)
    value, _ = linear_cross_entropy(hidden, weight, targets, weights)
    value.backward()  # type: ignore[no-untyped-call]
    expected = plain(hidden.detach().float(), weight.detach().bfloat16().float(), targets, weights)
    assert value.item() == pytest.approx(expected.item(), rel=0.02)
    assert hidden.grad.dtype == torch.bfloat16  # type: ignore[union-attr]
    assert weight.grad.dtype == torch.float32  # type: ignore[union-attr]


@pytest.mark.parametrize("factor", [0.1, 1.0])
def test_embedding_gradient_shrink(factor: float) -> None:
    x = torch.tensor([1 / 3, 0.7], requires_grad=True)
    out = scale_gradient(x, factor)
    assert torch.equal(out, x)
    (out * torch.tensor([2.0, 3.0])).sum().backward()
    reference: Any = x.detach().clone().requires_grad_()
    ((factor * reference + (1 - factor) * reference.detach()) * torch.tensor([2.0, 3.0])).sum().backward()
    assert torch.allclose(x.grad, reference.grad)  # type: ignore[arg-type]
