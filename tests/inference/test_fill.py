"""Filling and continuing texts with a small random model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from support import TINY

from glm130b.errors import ConfigError, DataError
from glm130b.inference import Sampling, answer, choose, fill, generate, make_context
from glm130b.model import GLM, build_model
from glm130b.tokenization import SpecialTokens, Tokenizer

SPECIAL = SpecialTokens(mask=56, gmask=57, smask=58, eod=59, sop=60, eop=61, enc=62, dblock=63, eos=2)


@pytest.fixture(scope="module")
def model() -> GLM:
    config = TINY.model_copy(update={"vocab_size": 16512})
    network = build_model(config, seed=3)
    generator = torch.Generator().manual_seed(2)
    for parameter in network.parameters():
        parameter.data.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return network.eval().requires_grad_(False)


@pytest.mark.parametrize("ids", [[5, 6, 56, 7], [5, 6, 57], [9], [57, 8, 58]])
def test_decoding_with_a_cache_equals_reading_everything_again(tiny: GLM, ids: list[int]) -> None:
    """Greedy answers, each token's logits recomputed from scratch in one full pass."""
    context = make_context(ids, SPECIAL)
    found = list(answer(tiny, context, end=set(), max_new_tokens=20))
    assert len(found) == 20
    tokens = torch.tensor([[*context.tokens, *found[:-1]]])
    positions = torch.tensor([[*context.position_ids, *(context.answer_position(n) for n in range(19))]])
    branch = torch.tensor([[*context.branch, *[1] * 19]])
    logits = tiny(tokens, positions, torch.zeros_like(tokens), branch)
    assert logits[0, len(context.tokens) - 1 :].argmax(-1).tolist() == found


def test_positions_of_answers() -> None:
    infill = make_context([5, 56, 7], SPECIAL)
    assert infill.tokens == [5, 56, 7, 60]
    assert infill.position_ids == [0, 1, 2, 1]
    assert [infill.answer_position(n) for n in range(3)] == [1, 1, 1]
    onward = make_context([5, 6], SPECIAL)
    assert onward.tokens == [5, 6, 57, 60]
    assert onward.branch == [0, 0, 0, 1]
    assert [onward.answer_position(n) for n in range(3)] == [4, 5, 6]
    authors = make_context([5, 57, 7], SPECIAL, append_eos=True)
    assert authors.tokens == [5, 57, 7, 2, 60]
    assert authors.position_ids == [0, 1, 2, 3, 4]


def test_fill_puts_answers_in_their_places(model: GLM, tokenizer: Tokenizer) -> None:
    text, answers = fill(model, tokenizer, "The [MASK] sat on 那个 [MASK]。", max_new_tokens=4)
    assert len(answers) == 2
    assert text == f"The{answers[0].text} sat on 那个{answers[1].text}。"
    pieces: list[str] = []
    again, _ = fill(model, tokenizer, "The [MASK] sat on 那个 [MASK]。", max_new_tokens=4, on_text=pieces.append)
    assert again == text
    assert "".join(pieces) == answers[0].text + answers[1].text


def test_answers_hold_no_special_tokens(model: GLM, tokenizer: Tokenizer) -> None:
    sampling = Sampling(temperature=50.0, seed=1)
    names = tuple(name for name in tokenizer.special.names().values())
    for seed in range(5):
        text = generate(model, tokenizer, "Once", max_new_tokens=30, sampling=Sampling(temperature=50.0, seed=seed))
        assert not any(name in text for name in names)
    assert generate(model, tokenizer, "Once", sampling=sampling) == generate(
        model, tokenizer, "Once", sampling=sampling
    )


def test_limits_and_refusals(model: GLM, tokenizer: Tokenizer) -> None:
    with pytest.raises(DataError, match="has no blank"):
        fill(model, tokenizer, "nothing to fill")
    with pytest.raises(DataError, match="holds a blank"):
        generate(model, tokenizer, "a [MASK] b")
    with pytest.raises(DataError, match="the model reads at most 64"):
        fill(model, tokenizer, "[MASK]" + "字" * 300)
    _, answers = fill(model, tokenizer, "word " * 50 + "[MASK]", max_new_tokens=1000)
    assert not answers[0].ended


@pytest.mark.parametrize(
    "options",
    [{"temperature": -1}, {"temperature": 1e-45}, {"temperature": np.inf}, {"top_k": -1}, {"top_p": 1.5}, {"seed": -1}],
)
def test_senseless_sampling_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="Cannot sample"):
        Sampling(**options)


def test_draws_follow_the_distribution() -> None:
    logits = torch.tensor([1.0, 0.0, 2.0, -1.0])
    generator = torch.Generator().manual_seed(0)
    for sampling, kept in (
        (Sampling(temperature=0.7), [0, 1, 2, 3]),
        (Sampling(temperature=1.0, top_k=2), [0, 2]),
        (Sampling(temperature=1.0, top_p=0.6), [2]),
    ):
        draws = np.bincount([choose(logits, sampling, generator) for _ in range(4000)], minlength=4)
        weights = np.exp(logits.numpy() / sampling.temperature) * np.isin(range(4), kept)
        expected = weights / weights.sum() * 4000
        assert (draws[expected == 0] == 0).all()
        seen = expected > 0
        assert ((draws - expected)[seen] ** 2 / expected[seen]).sum() < 16.3  # 99.9 %, 3 degrees of freedom


def test_banned_tokens_stay_banned_at_any_temperature() -> None:
    logits, generator = torch.zeros(4), torch.Generator().manual_seed(0)
    hot = Sampling(temperature=1e5)
    assert {choose(logits, hot, generator, banned=[1, 2]) for _ in range(200)} == {0, 3}
