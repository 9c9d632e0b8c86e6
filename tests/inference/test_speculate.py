"""Guessing ahead changes nothing but the number of passes."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support import TINY
from support import TINY_SPECIAL as SPECIAL

from glm130b.errors import ConfigError
from glm130b.inference import Context, Reader, Sampling, Speculation, answer, fill_blanks, make_context
from glm130b.inference.conventions import Conventions
from glm130b.inference.speculate import PromptLookup, num_right
from glm130b.model import GLM, build_model

WORDS = st.integers(5, 8)


def slow_guess(stretches: Sequence[list[int]], count: int) -> list[int]:
    """By looking at every place of the text before the blank and the answer, then of the text after the blank."""
    after, growing = stretches
    for n in (3, 2):
        if len(growing) < n:
            continue
        for stretch, place in [(growing, i) for i in range(len(growing) - 1, n - 1, -1)] + [
            (after, i) for i in range(len(after), n - 1, -1)
        ]:
            if stretch[place - n : place] == growing[-n:]:
                found = list(stretch)
                while len(found) < place + count and stretch is growing:
                    found.append(found[place + len(found) - len(growing)])
                return found[place : place + count]
    return []


@given(st.lists(WORDS, max_size=12), st.lists(WORDS, max_size=8), st.lists(WORDS, max_size=20), st.integers(0, 9))
@settings(max_examples=300, deadline=None)
def test_guesses_follow_the_last_occurrence(before: list[int], after: list[int], said: list[int], count: int) -> None:
    lookup = PromptLookup(make_context([*before, SPECIAL.mask, *after], SPECIAL))
    for token in said:
        lookup.append(token)
    assert lookup.guess(count) == slow_guess((after, before + said), count)


def test_what_repeats_goes_on_repeating() -> None:
    lookup = PromptLookup(make_context([5, 6, 7, 5, 6, 7, 5], SPECIAL))
    assert lookup.guess(5) == [6, 7, 5, 6, 7]
    lookup = PromptLookup(make_context([5, 6, 56, 7, 5, 6, 8, 9], SPECIAL))
    assert lookup.guess(5) == [8, 9]
    lookup.append(8)
    assert lookup.guess(5) == [9]


@pytest.mark.parametrize(
    ("guesses", "chosen", "right"),
    [([], [4], 0), ([4, 5], [4, 5, 6], 2), ([4, 5], [4, 6, 6], 1), ([4, 5], [5, 5, 6], 0)],
)
def test_right_guesses(guesses: list[int], chosen: list[int], right: int) -> None:
    assert num_right(guesses, chosen) == right


@pytest.fixture(scope="module")
def model() -> GLM:
    """In FP64, where rounding decides nothing; random, and repeating itself now and then."""
    network = build_model(TINY.model_copy(update={"max_sequence_length": 1100, "num_layers": 2}), seed=1)
    generator = torch.Generator().manual_seed(2)
    for parameter in network.parameters():
        parameter.data.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return network.eval().requires_grad_(False).double()


TEXT = [9, 14, 20, 33, 9, 14, 21, 40, 9, 14, 20]
CONTEXTS = {
    "[MASK]": make_context([*TEXT, SPECIAL.mask, 14, 20, 33, 12], SPECIAL),
    "[gMASK]": make_context(TEXT, SPECIAL),
    "[gMASK] within": make_context([*TEXT, SPECIAL.gmask, 7], SPECIAL),
}


@pytest.mark.slow
@pytest.mark.parametrize("sampling", [Sampling(), Sampling(0.6, seed=3), Sampling(1.0, top_k=9, top_p=0.8, seed=4)])
@pytest.mark.parametrize("name", CONTEXTS)
def test_a_thousand_tokens_are_the_same(
    model: GLM, name: str, sampling: Sampling, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0
    for method in ("read", "read_ahead"):
        original = getattr(Reader, method)

        def counted(reader: Reader, tokens: list[int], original: object = original) -> None:
            nonlocal calls
            calls += 1
            original(reader, tokens)  # type: ignore[operator]

        monkeypatch.setattr(Reader, method, counted)
    plain = list(answer(model, CONTEXTS[name], end=(), max_new_tokens=1000, sampling=sampling))
    assert (len(plain), calls) == (1000, 999)
    for tokens in (1, 5):
        calls, speculation = 0, Speculation(tokens)
        found = list(
            answer(model, CONTEXTS[name], end=(), max_new_tokens=1000, sampling=sampling, speculation=speculation)
        )
        assert found == plain
        assert calls == 999 - speculation.right
        assert 0 < speculation.right < speculation.guessed


@pytest.mark.parametrize("name", CONTEXTS)
def test_limits_and_ends_within_guesses(model: GLM, name: str) -> None:
    sampling = Sampling(0.6, seed=3)
    plain = list(answer(model, CONTEXTS[name], end=(), max_new_tokens=60, sampling=sampling))
    for count in range(1, 60, 7):
        options = {"max_new_tokens": count, "sampling": sampling, "speculation": Speculation(7)}
        assert list(answer(model, CONTEXTS[name], end=(), **options)) == plain[:count]  # type: ignore[arg-type]
    for token in set(plain):
        speculation = Speculation(7)
        found = list(
            answer(
                model,
                CONTEXTS[name],
                end={token},
                max_new_tokens=60,
                sampling=sampling,
                speculation=speculation,
            )
        )
        assert found == plain[: plain.index(token) + 1]
        assert speculation.right <= min(speculation.guessed, len(found))


def test_the_length_of_the_model_is_kept(model: GLM) -> None:
    context = make_context([5, 6, 7] * 360, SPECIAL)
    plain = list(answer(model, context, end=(), max_new_tokens=50))
    assert len(plain) == 1100 - len(context.tokens) == 18
    assert list(answer(model, context, end=(), max_new_tokens=50, speculation=Speculation(64))) == plain


def test_blanks_one_after_the_other(model: GLM) -> None:
    """What is drawn for the second does not depend on what was guessed for the first."""
    text = [*TEXT, SPECIAL.mask, 14, 20, SPECIAL.mask, 33, SPECIAL.gmask]
    options = {"max_new_tokens": 25, "decoding": Sampling(0.6, seed=5)}
    speculation = Speculation(4)
    conventions = Conventions(end=frozenset({11}))
    plain = fill_blanks(model, text, SPECIAL, conventions, **options)  # type: ignore[arg-type]
    found = fill_blanks(model, text, SPECIAL, conventions, speculation=speculation, **options)  # type: ignore[arg-type]
    assert found == plain
    assert speculation.guessed > 0


def test_an_answer_may_be_left_unfinished(model: GLM) -> None:
    speculation = Speculation(3)
    going = answer(model, CONTEXTS["[gMASK]"], end=(), max_new_tokens=40, speculation=speculation)
    plain = answer(model, CONTEXTS["[gMASK]"], end=(), max_new_tokens=40)
    assert [next(going) for _ in range(9)] == [next(plain) for _ in range(9)]


@pytest.mark.parametrize("tokens", [0, -1, 65])
def test_senseless_speculation_is_refused(tokens: int) -> None:
    with pytest.raises(ConfigError, match="Cannot guess"):
        Speculation(tokens)


def test_contexts_without_text() -> None:
    for context in (make_context([], SPECIAL), make_context([SPECIAL.mask], SPECIAL)):
        assert isinstance(context, Context)
        assert PromptLookup(context).guess(3) == []
