"""Whole tokens in C against the model itself, and against its dequantised weights in float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support import TINY
from support import TINY_SPECIAL as SPECIAL
from torch import Tensor, nn

from glm130b.inference import Context, Speculation, answer, make_context
from glm130b.inference.engine import Plain
from glm130b.inference.native import native
from glm130b.inference.reader import Reader
from glm130b.kernels import cpu
from glm130b.model import GLM, InMemory, KVCache, Scheme, build_model
from glm130b.quantization import Quantized, QuantizedLinear, dequantize, use_quantized_linears

pytestmark = pytest.mark.skipif(
    cpu.library() is None, reason="tests the kernels in C, which need a C compiler, and there is none"
)

SCHEMES = [
    Scheme(4),
    Scheme(4, group_size=32),
    Scheme(8, output_bits=8),
    Scheme(4, group_size=64, output_bits=4),
    Scheme(8, scale_shards=2),
]
SHAPE = {"hidden_size": 64, "num_layers": 3, "num_heads": 4, "ffn_size": 192, "max_sequence_length": 1100}


def quantized(scheme: Scheme, *, half: bool = False, seed: int = 0, **shape: int) -> GLM:
    plain = build_model(TINY.model_copy(update=SHAPE | shape), seed=seed).eval()
    draws = torch.Generator().manual_seed(seed)
    for parameter in plain.parameters():  # norms, biases and differences between words that matter
        parameter.data += 0.15 * torch.randn(parameter.shape, generator=draws)
    source = Quantized(InMemory(plain.state_dict()), scheme)
    model = GLM(plain.config)
    use_quantized_linears(model, scheme)
    model.load_state_dict({name: source.read(name) for name in source.infos})
    if half:
        model.word_embeddings.weight.data = model.word_embeddings.weight.data.half()
        model.activation_dtype = torch.float32
    return model.eval().requires_grad_(False)


def slow_double(model: GLM) -> GLM:
    """The same network with expanded weights in float64."""
    slow = GLM(model.config).double()
    state = {}
    for name, module in model.named_modules():
        if isinstance(module, QuantizedLinear):
            state[f"{name}.weight"] = dequantize(module.weight, module.weight_scale, module.bits).double()
    plain = {name: tensor for name, tensor in model.state_dict().items() if not name.endswith("_scale")}
    output = state.pop("output.weight", None)
    slow.load_state_dict(
        {name: state.get(name, tensor).double() for name, tensor in plain.items() if "output." not in name}
    )
    if output is not None:
        slow.output = nn.Linear(*output.T.shape, bias=False).double()
        slow.output.weight.data = output
    return slow.eval().requires_grad_(False)


def columns(draws: torch.Generator, batch: int, length: int, position: int, branch: int) -> Tensor:
    tokens = torch.randint(0, TINY.vocab_size, (batch, length), generator=draws)
    positions = torch.full((batch, length), position)
    return torch.stack((tokens, positions, torch.zeros_like(tokens), torch.full_like(tokens, branch)))


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
@settings(max_examples=15, deadline=None)
@given(batch=st.integers(1, 16), length=st.integers(1, 9), padding=st.integers(0, 8), seed=st.integers(0, 99))
def test_a_step_is_the_models(scheme: Scheme, half: bool, batch: int, length: int, padding: int, seed: int) -> None:
    model, draws = quantized(scheme, half=half, seed=seed), torch.Generator().manual_seed(seed)
    context = columns(draws, batch, length, 0, 0)
    context[1] = torch.arange(length)
    context[2, 0, max(1, length - padding) :] = -1  # row 0 is shorter
    caches = [KVCache(model.config, batch=batch, capacity=length + 3) for _ in range(2)]
    with torch.inference_mode():
        for cache in caches:
            model(*context, cache=cache)
        steppers = Plain(model, caches[0]), native(model, caches[1])
        assert steppers[1] is not None
        for position in (2, 2, 7):
            token = columns(draws, batch, 1, position, 1)
            theirs, ours = (stepper(token) for stepper in steppers)
            assert (ours - theirs).norm() < 1e-3 * theirs.norm()
    assert caches[1].length == length + 3
    for theirs_kept, ours_kept in zip(caches[0].keys, caches[1].keys, strict=True):
        assert (ours_kept - theirs_kept).norm() < 1e-3 * theirs_kept.norm()


@pytest.mark.parametrize("scheme", SCHEMES[:3], ids=str)
def test_tokens_read_ahead_are_those_read_one_by_one_to_the_last_bit(scheme: Scheme) -> None:
    model, draws = quantized(scheme), torch.Generator().manual_seed(5)
    context, tokens = columns(draws, 1, 6, 0, 0), columns(draws, 1, 11, 3, 1)
    caches = [KVCache(model.config, batch=1, capacity=17) for _ in range(2)]
    with torch.inference_mode():
        for cache in caches:
            model(*context, cache=cache)
        one, many = (native(model, cache) for cache in caches)
        assert one is not None
        assert many is not None
        single = torch.cat([one(tokens[:, :, n : n + 1]) for n in range(11)])
        assert torch.equal(many.ahead(tokens), single)
    assert all(torch.equal(a, b) for a, b in zip(caches[0].values, caches[1].values, strict=True))


def texts() -> list[Context]:
    ids = [5, 6, 7, 8, 9, 10, 5, 6, 7, SPECIAL.mask, 8, 9, 5, 6]
    return [make_context(ids, SPECIAL), make_context(ids[:8], SPECIAL)]


@pytest.mark.slow
@pytest.mark.parametrize(("scheme", "kind", "seed"), [(0, 1, 3), (1, 0, 6), (1, 1, 3), (2, 1, 1)])
def test_a_thousand_greedy_tokens_are_those_of_float64(scheme: int, kind: int, seed: int) -> None:
    """By networks with several words to say; random ones magnify roundings, and some have no clear favourite."""
    model, context = quantized(SCHEMES[scheme], seed=seed), texts()[kind]
    ours = list(answer(model, context, end=(), max_new_tokens=1000))
    assert len(ours) == 1000
    assert len(set(ours)) > 5
    assert ours == list(answer(slow_double(model), context, end=(), max_new_tokens=1000))


@pytest.mark.slow
@pytest.mark.parametrize("guesses", [3, 9])
@pytest.mark.parametrize("scheme", SCHEMES[:3], ids=str)
def test_guessing_ahead_changes_no_token(scheme: Scheme, guesses: int) -> None:
    for seed in range(4):
        model = quantized(scheme, seed=seed)
        for context in texts():
            plain = list(answer(model, context, end=(), max_new_tokens=300))
            speculation = Speculation(guesses)
            assert list(answer(model, context, end=(), max_new_tokens=300, speculation=speculation)) == plain
            assert speculation.guessed > 0


def test_a_token_that_is_no_word() -> None:
    model = quantized(SCHEMES[0])
    for token in (-1, TINY.vocab_size):
        reader = Reader(model, texts()[:1], 4)
        with pytest.raises(IndexError, match="no row of the embedding"):
            reader.read([token])


def test_rows_can_be_taken_and_forgotten_between_steps() -> None:
    model = quantized(SCHEMES[0])
    readers = [Reader(model, texts(), 4) for _ in range(2)]
    readers[1]._stepper = Plain(model, readers[1].cache)
    for reader in readers:
        reader.read([5, 6])
        reader.take([1, 0, 1])
    assert torch.allclose(readers[0].logits, readers[1].logits, rtol=1e-3, atol=1e-3)
    for reader in readers:
        reader.read([7, 8, 9])
        reader.forget(1)
        reader.read([9, 7, 8])
    assert torch.allclose(readers[0].logits[0], readers[1].logits[0], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("spoil", ["plain", "streamed", "half", "dtype"])
def test_models_it_does_not_serve(spoil: str) -> None:
    model: Any = quantized(SCHEMES[0])
    cache = KVCache(model.config, batch=1, capacity=4)
    if spoil == "plain":
        model = build_model(model.config, seed=0)
    if spoil == "streamed":
        model.streamed = True
    if spoil == "half":
        cache = KVCache(model.config, batch=1, capacity=4, dtype=torch.float16)
    if spoil == "dtype":
        model = model.to(torch.bfloat16)
    assert native(model, cache) is None
