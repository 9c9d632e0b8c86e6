"""Initial values and dropout: pure functions of seeds and names."""

from __future__ import annotations

import pytest
import torch
from support import TINY

from glm130b.config import ModelConfig
from glm130b.model import GLM, build_model
from glm130b.model.dropout import dropper, mix
from glm130b.model.init import initial_value
from glm130b.planning import parameter_count, parameter_shapes

WIDE = ModelConfig(num_layers=8, hidden_size=256, num_heads=4, ffn_size=512, vocab_size=512, max_sequence_length=64)


def test_deepnorm_scales() -> None:
    """Xavier-normal; gain (2N)^(-1/2) = 1/4 for value, output and feed-forward matrices."""
    model = build_model(WIDE, seed=3)
    H, I, V = WIDE.hidden_size, WIDE.ffn_size, WIDE.vocab_size

    def std(fan_in: int, fan_out: int, gain: float = 1.0) -> float:
        return gain * (2 / (fan_in + fan_out)) ** 0.5

    layer = model.layers[0]
    qkv = layer.attention.query_key_value.weight.view(4, 3, 64, H)
    for part, gain in ((0, 1), (1, 1), (2, 0.25)):
        assert qkv[:, part].std().item() == pytest.approx(std(H, 3 * H, gain), rel=0.03)
    assert layer.attention.dense.weight.std().item() == pytest.approx(std(H, H, 0.25), rel=0.03)
    assert layer.mlp.dense_h_to_4h.weight.std().item() == pytest.approx(std(H, I, 0.25), rel=0.03)
    assert layer.mlp.dense_4h_to_h.weight.std().item() == pytest.approx(std(I, H, 0.25), rel=0.03)
    assert model.word_embeddings.weight.std().item() == pytest.approx(std(V, H), rel=0.03)
    assert all(not p.any() for name, p in model.named_parameters() if name.endswith("bias"))
    assert all((p == 1).all() for name, p in model.named_parameters() if name.endswith("layernorm.weight"))


def test_a_parameter_depends_on_seed_and_name_alone() -> None:
    first, second = build_model(WIDE, seed=3), build_model(WIDE, seed=4)
    for name, parameter in first.named_parameters():
        assert torch.equal(parameter, initial_value(name, WIDE, 3))
    assert not torch.equal(first.word_embeddings.weight, second.word_embeddings.weight)
    assert not torch.equal(first.layers[0].attention.dense.weight, first.layers[1].attention.dense.weight)
    with pytest.raises(ValueError, match="no initial value"):
        initial_value("layers.0.attention.gate.weight", WIDE, 3)


def test_parameter_names_and_shapes_are_as_planned() -> None:
    with torch.device("meta"):
        model = GLM(TINY)
    assert {name: tuple(p.shape) for name, p in model.named_parameters()} == parameter_shapes(TINY)
    assert sum(p.numel() for p in model.parameters()) == parameter_count(TINY)


def test_dropout_is_a_function_of_seed_and_place() -> None:
    x = torch.ones(3, 1000)
    drop = dropper(0.25, torch.tensor([5, 6, 7]), mix(2, 1))
    assert drop is not None
    once = drop(x)
    assert torch.equal(once, drop(x))
    assert once.unique().tolist() == pytest.approx([0.0, 1 / 0.75])
    assert (once == 0).float().mean().item() == pytest.approx(0.25, abs=0.03)
    alone = dropper(0.25, torch.tensor([6]), mix(2, 1))
    elsewhere = dropper(0.25, torch.tensor([6]), mix(2, 2))
    assert alone is not None
    assert elsewhere is not None
    assert torch.equal(alone(x[:1])[0], once[1])
    assert not torch.equal(elsewhere(x[:1])[0], once[1])
    assert dropper(0.0, torch.tensor([1]), 0) is None
    assert dropper(0.5, None, 0) is None


def test_mix_spreads() -> None:
    values = {mix(1, a, b) for a in range(50) for b in range(50)}
    assert len(values) == 2500
    assert all(0 <= value < 2**63 for value in values)


def test_dropout_and_recomputation_in_the_model() -> None:
    config = TINY.model_copy(update={"hidden_dropout": 0.2, "attention_dropout": 0.2})
    model = build_model(config, seed=1)
    tokens = torch.arange(12).view(2, 6)
    inputs = (tokens, torch.arange(6).expand(2, -1), torch.zeros_like(tokens), torch.ones_like(tokens))
    without, dropped = model(*inputs), model(*inputs, dropout_seeds=torch.tensor([1, 2]))
    assert not torch.equal(without, dropped)
    swapped = model(*(part.flip(0) for part in inputs), dropout_seeds=torch.tensor([2, 1])).flip(0)
    assert torch.allclose(dropped, swapped, atol=1e-6)
    gradients = []
    for recompute in ("none", "selective", "full"):
        model.zero_grad()
        model.recompute = recompute
        model(*inputs, dropout_seeds=torch.tensor([1, 2])).square().mean().backward()
        gradients.append([parameter.grad.clone() for parameter in model.parameters()])
    for others in gradients[1:]:
        assert all(torch.equal(a, b) for a, b in zip(gradients[0], others, strict=True))


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_dropout_is_even_and_uncorrelated(rate: float) -> None:
    """Rates of rows, columns and neighbours, over seeds and layers, within five standard errors."""
    masks = []
    for layer in range(4):
        drop = dropper(rate, torch.tensor([mix(1234, n) for n in range(8)]), mix(layer, 1))
        assert drop is not None
        masks.append((drop(torch.ones(8, 256, 64)) == 0).double())
    dropped = torch.stack(masks) - rate
    deviation = (rate * (1 - rate)) ** 0.5

    def even(values: torch.Tensor, spread: float, count: float) -> bool:
        return bool((values.abs() < 5 * spread / count**0.5).all())

    assert even(dropped.mean(dim=(0, 1, 2)), deviation, 4 * 8 * 256)
    assert even(dropped.mean(dim=(0, 1, 3)), deviation, 4 * 8 * 64)
    assert even(dropped.mean(dim=(2, 3)), deviation, 256 * 64)
    for dim in range(4):
        pairs = dropped * dropped.roll(1, dims=dim)
        assert even(pairs.mean(), deviation**2, pairs.numel())


def test_parts_of_a_mask_are_the_mask() -> None:
    seeds, x = torch.tensor([3, 4]), torch.ones(2, 8, 5)
    whole = dropper(0.3, seeds, mix(1, 0))
    assert whole is not None
    parts = [dropper(0.3, seeds, mix(1, 0), (n, 4)) for n in range(4)]
    together = torch.cat([part(x[:, :2]) for part in parts if part is not None], dim=1)
    assert torch.equal(together, whole(x))
