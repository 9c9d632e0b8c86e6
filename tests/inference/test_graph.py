"""Decoding on fixed tensors against plain decoding; as CUDA graphs where there is a GPU, else step by step."""

from __future__ import annotations

import os

import pytest
import torch

os.environ.setdefault("TRITON_INTERPRET", "0" if torch.cuda.is_available() else "1")

from glm130b.config import ModelConfig
from glm130b.inference import decode
from glm130b.inference.context import Context, make_context
from glm130b.inference.engine import Plain
from glm130b.inference.graph import GraphDecoder, GraphStepper, graph_stepper
from glm130b.inference.reader import Reader
from glm130b.inference.sampling import Sampling, draw
from glm130b.kernels import gpu
from glm130b.model import GLM, KVCache, Scheme, build_model
from glm130b.quantization import QuantizedLinear, quantize_rows, use_quantized_linears
from glm130b.tokenization import SpecialTokens

pytestmark = pytest.mark.slow

ON_GPU = torch.cuda.is_available()
DEVICE = "cuda" if ON_GPU else "cpu"
SPECIAL = SpecialTokens(mask=56, gmask=57, smask=58, eod=59, sop=60, eop=61, enc=62, dblock=63, eos=2)
CONTEXTS = [
    make_context([5, 6, 56, 7], SPECIAL),
    make_context([8], SPECIAL),
    make_context([9, 5, 8] * 20 + [57], SPECIAL),
]


def model_of(num_layers: int, max_sequence_length: int = 512) -> GLM:
    config = ModelConfig(
        num_layers=num_layers,
        hidden_size=64,
        num_heads=2,
        ffn_size=96,
        vocab_size=64,
        max_sequence_length=max_sequence_length,
    )
    model = build_model(config, seed=1)
    generator = torch.Generator().manual_seed(2)
    for parameter in model.parameters():
        parameter.data.add_(torch.randn(parameter.shape, generator=generator) * 0.05)
    model.word_embeddings.weight.data.normal_(generator=generator)
    model.output = torch.nn.Linear(64, 64, bias=False)  # the embedding itself would repeat the last token for ever
    model.output.weight.data.normal_(std=0.3, generator=generator)
    return model.eval().requires_grad_(False).to(DEVICE)


def quantized(model: GLM, scheme: Scheme) -> GLM:
    output, model.output = model.output, None
    plain_weights = {name: linear for name, linear in model.named_modules() if isinstance(linear, torch.nn.Linear)}
    use_quantized_linears(model, scheme)
    model.output = output
    for name, linear in plain_weights.items():
        map_ = model.get_submodule(name)
        assert isinstance(map_, QuantizedLinear)
        columns = linear.in_features
        weight, scale = quantize_rows(linear.weight.cpu(), scheme.bits, scheme.num_scales(f"{name}.weight", columns))
        map_.weight, map_.weight_scale = weight.to(DEVICE), scale.to(DEVICE)
        assert map_.bias is not None
        map_.bias.data.copy_(linear.bias)
    return model


def uniforms(count: int, rows: int) -> torch.Tensor:
    return torch.stack([Sampling(temperature=1.0, seed=row).uniforms(count) for row in range(rows)])


def plainly(model: GLM, contexts: list[Context], count: int, sampling: Sampling) -> list[list[int]]:
    """By the model itself, its cache read as far as it is full."""
    reader = Reader(model, contexts, count)
    reader._stepper = Plain(model, reader.cache)
    numbers, found = uniforms(count, len(contexts)).T.to(DEVICE), []
    for n in range(count):
        found.append(draw(reader.logits, numbers[n], sampling).tolist())
        reader.read(found[-1])
    return found


def statically(
    model: GLM, contexts: list[Context], count: int, sampling: Sampling, *, fused: bool = False
) -> list[list[int]]:
    reader = Reader(model, contexts, count)
    decoder = GraphDecoder(
        model,
        reader.cache,
        reader.logits,
        torch.tensor([context.answer_position(0) for context in contexts]),
        torch.tensor([context.answer_position(1) - context.answer_position(0) for context in contexts]),
        sampling=sampling,
        uniforms=uniforms(count, len(contexts)),
        fused=fused,
    )
    return list(decoder)


SAMPLINGS = [
    Sampling(),
    Sampling(temperature=0.7),
    Sampling(temperature=1.0, top_k=9),
    Sampling(temperature=2.0, top_p=0.9),
]


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("contexts", [[context] for context in CONTEXTS] + [CONTEXTS])
def test_tokens_are_those_of_plain_decoding(sampling: Sampling, contexts: list[Context]) -> None:
    """[MASK] and [gMASK], alone and in a padded batch; the cache grows over two buckets of its length."""
    model = model_of(2)
    found = statically(model, contexts, 220, sampling)
    assert found == plainly(model, contexts, 220, sampling)
    assert len({token for tokens in found for token in tokens}) > 3


@pytest.mark.parametrize("context", CONTEXTS)
@pytest.mark.parametrize("sampling", SAMPLINGS[:2])
def test_answers_grown_on_the_device_are_the_same(
    context: Context, sampling: Sampling, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their ends, limits and banned tokens too."""
    model, decoders = model_of(2), []
    monkeypatch.setattr(decode, "GraphDecoder", lambda *args, **kw: decoders.append(1) or GraphDecoder(*args, **kw))
    found = []
    for on_device in (False, True):
        monkeypatch.setattr(decode, "fits_graph", lambda model, cache, on_device=on_device: on_device)
        whole = list(decode.answer(model, context, end=(), max_new_tokens=40, sampling=sampling, banned=[7, 8]))
        cut = list(decode.answer(model, context, end={whole[20]}, max_new_tokens=40, sampling=sampling, banned=[7, 8]))
        found.append((whole, cut))
        assert len(decoders) == 2 * on_device
    assert found[0] == found[1]
    whole, cut = found[0]
    assert len(whole) == 40
    assert not {7, 8} & set(whole)
    assert cut == whole[: whole.index(whole[20]) + 1]


@pytest.mark.slow
@pytest.mark.parametrize("scheme", [Scheme(4), Scheme(4, group_size=32), Scheme(8)])
def test_fused_kernels_choose_the_same(scheme: Scheme) -> None:
    """All kernels of a step together, in FP32, where their rounding cannot decide."""
    pytest.importorskip("triton")
    model, count = quantized(model_of(1), scheme), 200 if ON_GPU else 3
    found = statically(model, CONTEXTS[:2], count, SAMPLINGS[1], fused=True)
    assert found == plainly(model, CONTEXTS[:2], count, SAMPLINGS[1])


@pytest.mark.slow
@pytest.mark.parametrize("rows", [1, 5])
def test_fused_logits(rows: int) -> None:
    """Of the plain step, also where the maps are not quantised or the rows too many for one kernel."""
    pytest.importorskip("triton")
    for model in (model_of(2), quantized(model_of(2), Scheme(4))):
        logits = []
        for fused in (False, True):
            reader = Reader(model, [CONTEXTS[0]] * rows, 2)
            reader._stepper = GraphStepper(model, reader.cache, fused=fused)
            reader.read([7] * rows)
            logits.append(reader.logits.clone())
        assert (logits[0] - logits[1]).abs().max() < 1e-4 * logits[0].std()


def test_a_stepper_follows_its_cache() -> None:
    """Tokens taken back and read again, as speculation does."""
    model = model_of(2)
    readers = [Reader(model, CONTEXTS, 12) for _ in range(2)]
    readers[0]._stepper = Plain(model, readers[0].cache)
    readers[1]._stepper = GraphStepper(model, readers[1].cache, fused=False)
    for step in range(8):
        for reader in readers:
            if step in (3, 6):
                reader.forget(2)
            reader.read([step + 5, step + 6, 9])
        assert (readers[0].logits - readers[1].logits).abs().max() < 1e-4
        assert readers[0].cache.length == readers[1].cache.length


def test_several_tokens_of_a_row_at_once() -> None:
    """As speculation reads them; single steps go on behind."""
    model = model_of(2)
    readers = [Reader(model, [CONTEXTS[0]], 12) for _ in range(2)]
    for make, reader in zip((Plain, GraphStepper), readers, strict=True):
        reader._stepper = make(model, reader.cache)
        reader.read([5])
        reader.read_ahead([6, 9, 11])
        reader.forget(1)
        reader.read([12])
    assert readers[0].cache.length == readers[1].cache.length
    assert (readers[0].logits - readers[1].logits).abs().max() < 1e-4


def test_more_tokens_than_there_is_room_for_are_refused() -> None:
    model = model_of(1)
    cache = KVCache(model.config, batch=1, capacity=5, device=DEVICE)
    cache.length = 5
    with pytest.raises(ValueError, match="holds 5 tokens"):
        GraphStepper(model, cache)(torch.zeros(4, 1, 1, dtype=torch.long, device=DEVICE))
    with pytest.raises(ValueError, match="holds 5 tokens"):
        GraphDecoder(
            model,
            cache,
            torch.zeros(1, 64),
            torch.tensor([3]),
            torch.tensor([1]),
            sampling=Sampling(),
            uniforms=torch.zeros(1, 1),
        )


def test_only_models_on_one_gpu_have_graphs() -> None:
    model = model_of(1)
    stepper = graph_stepper(model, KVCache(model.config, batch=1, capacity=5, device=DEVICE))
    assert (stepper is not None) == ON_GPU
    assert gpu.GEMV_MAX_ROWS == 2
