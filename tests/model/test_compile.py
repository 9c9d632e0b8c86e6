"""A layer is one graph to a compiler, with dropout and in every mode of recomputation."""

from __future__ import annotations

import pytest
import torch
from support import TINY

from glm130b.config import Recompute
from glm130b.model import build_model


@pytest.mark.slow
@pytest.mark.parametrize("recompute", ["none", "selective", "full"])
def test_compiled_layers_are_the_layers(recompute: Recompute) -> None:
    """Traced whole (a graph break is an error) and run by the eager kernels, which is what differs least."""
    config = TINY.model_copy(update={"hidden_dropout": 0.1})
    tokens = torch.arange(32).view(2, 16)
    branch = (torch.arange(16) >= 9).long().expand(2, -1)
    inputs = (tokens, torch.arange(16).expand(2, -1), torch.zeros_like(tokens), branch)
    found = []
    for compiled in (False, True):
        model = build_model(config, seed=1)
        model.recompute, model.attention_backend = recompute, "sdpa"
        for layer in model.layers if compiled else ():
            layer.compile(backend="aot_eager", fullgraph=True)
        hidden = model.hidden_states(*inputs, dropout_seeds=torch.tensor([3, 4]))
        hidden.square().mean().backward()
        found.append([hidden, *[parameter.grad for parameter in model.parameters()]])
    torch._dynamo.reset()
    for ours, theirs in zip(*found, strict=True):
        assert ours is not None
        assert theirs is not None
        assert torch.allclose(ours, theirs, atol=1e-5)
