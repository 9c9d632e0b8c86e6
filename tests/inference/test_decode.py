"""Several answers at once: what one cache holds and moves, against reading everything again."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import TINY
from support import TINY_SPECIAL as SPECIAL

from glm130b.errors import DataError
from glm130b.inference import Context, Reader, Sampling, answer, answer_batch, generation_context, make_context
from glm130b.model import GLM, KVCache

TEXTS = st.lists(st.sampled_from([5, 6, 7, 8, 56, 57, 58]), min_size=1, max_size=12)


def logits_of(model: GLM, context: Context, found: list[int]) -> torch.Tensor:
    """For the token after ``found``, in one pass without a cache."""
    positions = context.position_ids + [context.answer_position(n) for n in range(len(found))]
    columns = [context.tokens + found, positions, [0] * len(positions), context.branch + [1] * len(found)]
    result: torch.Tensor = model(*torch.tensor(columns)[:, None])[0, -1]
    return result


@given(st.lists(TEXTS, min_size=1, max_size=3), st.data())
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_reader_equals_reading_everything_again(tiny: GLM, texts: list[list[int]], data: st.DataObject) -> None:
    """Rows are repeated, dropped and reordered at random between the steps."""
    contexts = [make_context(text, SPECIAL) for text in texts]
    reader = Reader(tiny, contexts, 4)
    rows: list[tuple[Context, list[int]]] = [(context, []) for context in contexts]
    for _ in range(4):
        taken = data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1, max_size=4))
        reader.take(taken, same_context=len(texts) == 1)
        tokens = data.draw(st.lists(st.integers(3, 63), min_size=len(taken), max_size=len(taken)))
        reader.read(tokens)
        rows = [(rows[row][0], [*rows[row][1], token]) for row, token in zip(taken, tokens, strict=True)]
        expected = torch.stack([logits_of(tiny, context, found) for context, found in rows])
        assert (reader.logits - expected).abs().max() < 1e-4


def test_taking_rows_leaves_earlier_slots_alone() -> None:
    cache = KVCache(TINY, batch=2, capacity=6)
    slots = cache.reserve(torch.zeros(2, 4), torch.tensor([[0, 0, 1, 1], [0, 0, 1, 2]]))
    shape = (2, TINY.num_heads, 4, TINY.head_size)
    keys = torch.randn(shape)
    cache.store(1, slots, keys, -keys)
    cache.take(torch.tensor([1, 1]), from_slot=2)
    assert torch.equal(cache.keys[1][:, :, :2], keys[:, :, :2])
    assert torch.equal(cache.keys[1][:, :, 2:4], keys[[1, 1], :, 2:])
    assert torch.equal(cache.values[1], -cache.keys[1])
    assert cache.branch[:, :4].tolist() == [[0, 0, 1, 2], [0, 0, 1, 2]]
    with pytest.raises(ValueError, match="number of rows stays"):
        cache.take(torch.tensor([0, 1, 1]), from_slot=2)
    cache.take(torch.tensor([1, 0, 1]))
    assert (cache.sample.shape, cache.capacity, cache.length) == ((3, 6), 6, 4)
    assert torch.equal(cache.keys[1][0, :, :4], torch.cat([keys[1, :, :2], keys[1, :, 2:]], dim=1))


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(temperature=1.5, top_k=20, seed=5)])
def test_a_batch_answers_as_each_context_alone(tiny: GLM, sampling: Sampling) -> None:
    """Of different lengths and kinds; some answers end, one runs into the model's length."""
    contexts = [
        make_context([5, 6, 56, 7], SPECIAL),
        make_context([8], SPECIAL),
        generation_context(
            [9, 5, 8], SPECIAL, max_gen_length=5, max_seq_length=64, use_task_mask=True, unidirectional=True
        ),
        make_context([7] * 50 + [57], SPECIAL),
        make_context([58, 6, 7, 8, 9], SPECIAL),
    ]
    end = set(range(3, 12))
    found = answer_batch(tiny, contexts, end=end, max_new_tokens=20, sampling=sampling, banned=[40, 41])
    for n, (context, tokens) in enumerate(zip(contexts, found, strict=True)):
        generator = torch.Generator().manual_seed(sampling.seed + n)
        options: dict[str, Any] = {"sampling": sampling, "banned": [40, 41], "generator": generator}
        assert tokens == list(answer(tiny, context, end=end, max_new_tokens=20, **options))
    assert len({len(tokens) for tokens in found}) > 1


def test_limits_of_a_batch(tiny: GLM) -> None:
    contexts = [make_context([5], SPECIAL), make_context([5] * 57, SPECIAL)]
    assert [len(found) for found in answer_batch(tiny, contexts, end=(), max_new_tokens=9)] == [9, 5]
    assert answer_batch(tiny, contexts, end=(), max_new_tokens=0) == [[], []]
    assert answer_batch(tiny, [], end=(), max_new_tokens=9) == []
    with pytest.raises(DataError, match="the model reads at most 64"):
        answer_batch(tiny, [*contexts, make_context([5] * 63, SPECIAL)], end=(), max_new_tokens=9)
