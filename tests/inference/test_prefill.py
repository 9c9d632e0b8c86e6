"""Layers that take their tokens in blocks, against the same layers given all at once."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import TINY
from support import TINY_SPECIAL as SPECIAL
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from glm130b.inference import Context, Reader, Row, generation_context, make_context, pad_rows
from glm130b.model import GLM, InMemory, KVCache, Scheme, assign_tensors, block_size
from glm130b.model import streaming as module
from glm130b.quantization import Quantized, use_quantized_linears


class LargestTensor(TorchDispatchMode):
    """Bytes of the largest storage behind any tensor that an operator returns."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self.bytes = max(self.bytes, leaf.untyped_storage().nbytes())
        return out


def read(model: GLM, columns: Tensor, block: int | None, *, spare: int = 0) -> tuple[Tensor, KVCache]:
    batch, length = columns.shape[1:]
    cache = KVCache(model.config, batch=batch, capacity=length + spare, dtype=model.dtype)
    with torch.inference_mode():
        return model(*columns, cache=cache, block=block), cache


def quantized(model: GLM, bits: Any) -> GLM:
    source = Quantized(InMemory(dict(model.state_dict())), Scheme(bits))
    model = copy.deepcopy(model)
    use_quantized_linears(model, Scheme(bits))
    assign_tensors(model, ((name, source.read(name)) for name in source.infos), "here")
    return model.requires_grad_(False)


def mask(length: int) -> Context:
    return make_context([5 + n % 40 for n in range(length - 3)] + [56, 7], SPECIAL)


def gmask(length: int) -> Context:
    return make_context([5 + n % 40 for n in range(length - 2)], SPECIAL)


def one_way(length: int) -> Context:
    text = [5 + n % 40 for n in range(length - 2)]
    return generation_context(
        text, SPECIAL, max_gen_length=5, max_seq_length=300, use_task_mask=True, unidirectional=True
    )


def choices(length: int) -> Row:
    """A context and answers beside one another, each seeing itself and the context."""
    branch = [0] * (length - 9) + [1] * 4 + [2] * 5
    return Row([5 + n % 40 for n in range(length)], [*range(length - 9), *[7] * 9], branch)


KINDS = (mask, gmask, one_way, choices)


@given(st.lists(st.tuples(st.sampled_from(KINDS), st.integers(12, 45)), min_size=1, max_size=3), st.integers(1, 50))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_blocks_change_nothing(tiny: GLM, rows: list[tuple[Any, int]], block: int) -> None:
    """Every mask, alone and padded in a batch, in FP64: logits, and what is left in the cache."""
    model = copy.deepcopy(tiny).double()
    columns = pad_rows([kind(length) for kind, length in rows], multiple=1)
    real = columns[2] == 0
    logits, cache = read(model, columns, block)
    expected, whole = read(model, columns, None)
    assert (logits - expected)[real].abs().max() < 1e-12
    assert cache.length == whole.length == columns.shape[2]
    assert torch.equal(cache.branch, whole.branch)
    for found, wanted in zip((*cache.keys, *cache.values), (*whole.keys, *whole.values), strict=True):
        assert (found - wanted).transpose(1, 2)[real].abs().max() < 1e-12


def test_a_second_part_is_read_behind_the_first(tiny: GLM) -> None:
    """Answers read in blocks see the context that is in the cache already."""
    model = copy.deepcopy(tiny).double()
    columns = pad_rows([choices(40)], multiple=1)
    expected, _ = read(model, columns, None)
    _, cache = read(model, columns[:, :, :31], 8, spare=9)
    with torch.inference_mode():
        found = model(*columns[:, :, 31:], cache=cache, block=2)
    assert (found - expected[:, 31:]).abs().max() < 1e-12


@pytest.mark.parametrize("bits", [None, 8, 4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_stored_in_any_way(tiny: GLM, bits: Any, dtype: torch.dtype) -> None:
    """To the rounding of the type, or of the kernels, which take few rows otherwise than many."""
    model = tiny.to(dtype) if bits is None else quantized(tiny.to(dtype), bits)
    columns = pad_rows([mask(45), gmask(30)], multiple=1)
    expected = read(model, columns, None)[0].double()
    error = (read(model, columns, 7)[0].double() - expected)[columns[2] == 0].norm() / expected.norm()
    assert error < max(8 * torch.finfo(dtype).eps, 1e-4 if bits else 0)


def test_nothing_grows_with_the_length_but_the_residual_stream(tiny: GLM) -> None:
    """Nor anything with its square, or with the wide tensors of attention and feed-forward."""
    length, hidden = 600, TINY.hidden_size
    columns = pad_rows([gmask(length)], multiple=1)
    logits = {}
    for block in (None, 16):
        cache = KVCache(TINY, batch=1, capacity=length)
        with torch.inference_mode(), LargestTensor() as largest:
            logits[block] = tiny(*columns, cache=cache, block=block, rows=torch.tensor([length - 1]))
        stream = 4 * length * hidden
        assert largest.bytes == stream if block else largest.bytes >= 3 * stream
    assert (logits[16] - logits[None]).abs().max() < 1e-4


def test_contexts_longer_than_a_block_are_read_in_blocks(tiny: GLM, monkeypatch: pytest.MonkeyPatch) -> None:
    contexts = [mask(60), gmask(50)]
    expected = Reader(tiny, contexts, 3)
    monkeypatch.setattr(module, "_WIDEST_BYTES", 1)
    for smallest, bound in ((16, 1), (120, 3)):  # 8 of the 60 tokens of each row; all of them
        monkeypatch.setattr(module, "_SMALLEST_BLOCK", smallest)
        with LargestTensor() as largest:
            reader = Reader(tiny, contexts, 3)
        room = 4 * 2 * 63 * TINY.hidden_size
        assert largest.bytes <= room if bound == 1 else largest.bytes > 2 * room
        assert (reader.logits - expected.logits).abs().max() < 1e-4
        reader.read([5, 6])
    expected.read([5, 6])
    assert (reader.logits - expected.logits).abs().max() < 1e-4


def test_the_size_of_a_block() -> None:
    """64 MiB of the widest tensor, but at least 256 tokens."""
    paper = TINY.model_copy(update={"ffn_size": 32768})
    assert block_size(paper, torch.float16) == 512
    assert block_size(paper, torch.float32) == 256
    assert block_size(paper, torch.float32, rows=4) == 64
    assert block_size(paper, torch.float32, rows=1000) == 1
    assert block_size(TINY, torch.float32) == 2**26 // (4 * 96)


def test_blocks_need_a_cache_and_no_dropout(tiny: GLM) -> None:
    columns = pad_rows([mask(20)], multiple=1)
    with pytest.raises(ValueError, match="with a cache and without dropout"):
        tiny(*columns, block=4)
    cache = KVCache(TINY, batch=1, capacity=20)
    with pytest.raises(ValueError, match="with a cache and without dropout"):
        tiny(*columns, cache=cache, block=4, dropout_seeds=torch.tensor([1]))
