"""Who carries out a step, and what a step is told."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from support import TINY
from support import TINY_SPECIAL as SPECIAL
from torch import Tensor

from glm130b.inference import Reader, Stepper, engine, make_context, make_stepper
from glm130b.model import GLM, KVCache

Candidate = Callable[[GLM, KVCache], Stepper | None]


def recording(steps: list[tuple[list[int], int]], made: list[int]) -> Candidate:
    """A candidate that notes the positions and the slot of each step, and the rows it was made for."""

    def make(model: GLM, cache: KVCache) -> Stepper:
        step = engine.Plain(model, cache)
        made.append(len(cache.sample))

        def noted(columns: Tensor) -> Tensor:
            steps.append((columns[1, :, 0].tolist(), cache.length))
            return step(columns)

        return noted

    return make


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> tuple[list[tuple[list[int], int]], list[int]]:
    steps: list[tuple[list[int], int]] = []
    made: list[int] = []
    monkeypatch.setattr(engine, "CANDIDATES", [lambda model, cache: None, recording(steps, made), engine.Plain])
    return steps, made


def test_a_slot_is_not_a_position(tiny: GLM, seen: tuple[list[tuple[list[int], int]], list[int]]) -> None:
    """Answers to [MASK] repeat a position, to [gMASK] they go on; both go behind the longest context."""
    infill, onward = make_context([5, 56, 7, 8, 9], SPECIAL), make_context([5, 6], SPECIAL)
    reader = Reader(tiny, [infill, onward], 4)
    for _ in range(3):
        reader.read([8, 9])
    assert seen[0] == [([1, 4], 6), ([1, 5], 7), ([1, 6], 8)]


def test_a_stepper_serves_until_rows_come_or_go(tiny: GLM, seen: tuple[list[tuple[list[int], int]], list[int]]) -> None:
    reader = Reader(tiny, [make_context([5], SPECIAL)], 9)
    for rows, same in (([0], False), ([0, 0, 0], True), ([2, 1, 1], True), ([1, 0], True)):
        reader.take(rows, same_context=same)
        reader.read([8] * len(rows))
        reader.read([9] * len(rows))
    assert seen[1] == [1, 3, 2]


def test_the_first_candidate_that_can_is_taken(tiny: GLM, monkeypatch: pytest.MonkeyPatch) -> None:
    def fixed(model: GLM, cache: KVCache) -> Stepper | None:
        return (lambda columns: torch.full((1, 64), 7.0)) if cache.capacity > 5 else None

    monkeypatch.setattr(engine, "CANDIDATES", [fixed, engine.Plain])
    columns = torch.tensor([[[5]], [[0]], [[0]], [[0]]])
    assert make_stepper(tiny, KVCache(TINY, batch=1, capacity=6))(columns).unique().tolist() == [7.0]
    small = KVCache(TINY, batch=1, capacity=5)
    assert torch.equal(make_stepper(tiny, small)(columns), tiny(*columns)[:, 0])
    assert small.length == 1


def test_forgotten_tokens_leave_no_trace(tiny: GLM) -> None:
    context = make_context([5, 6, 56, 7], SPECIAL)
    reader, expected = Reader(tiny, [context], 8), Reader(tiny, [context], 8)
    reader.read_ahead([8, 9, 10, 11])
    ahead = reader.logits
    reader.forget(2)
    for n, token in enumerate((8, 9)):
        expected.read([token])
        assert (ahead[n] - expected.logits[0]).abs().max() < 1e-4
    for each in (reader, expected):
        each.read([30])
    assert (reader.logits - expected.logits).abs().max() < 1e-4


def test_a_cache_is_not_truncated_to_more_than_it_holds() -> None:
    cache = KVCache(TINY, batch=1, capacity=6)
    cache.reserve(torch.zeros(1, 4), torch.zeros(1, 4))
    cache.truncate(3)
    assert cache.reserve(torch.zeros(1, 1), torch.zeros(1, 1)) == slice(3, 4)
    for length in (5, -1):
        with pytest.raises(ValueError, match="the cache holds 4 tokens"):
            cache.truncate(length)
