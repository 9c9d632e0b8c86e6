"""Samples against a slow and obvious reading of the rules."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from glm130b.samples import draw_span_lengths, gmask_sample, mask_sample, pack, place_spans, span_length_weights
from glm130b.samples.blank import Sample
from glm130b.samples.spans import clip_spans
from glm130b.tokenization import SpecialTokens

SPECIAL = SpecialTokens(mask=900, gmask=901, smask=902, eod=903, sop=904, eop=905, enc=906, dblock=907, eos=1)


@st.composite
def windows(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A text, spans in it, and an order of them."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    length = draw(st.integers(8, 120))
    count = draw(st.integers(1, 10))
    lengths = clip_spans(draw_span_lengths(rng, span_length_weights(3.0, 39), count), length)
    return rng.integers(10, 800, length), place_spans(rng, lengths, length), lengths, rng.permutation(len(lengths))


@given(windows())
def test_answers_put_back_give_the_text(window: tuple[np.ndarray, ...]) -> None:
    text, starts, lengths, order = window
    sample = mask_sample(text, starts, lengths, order, SPECIAL)
    context = sample.tokens[sample.branch == 0].tolist()
    blanks = [n for n, token in enumerate(context) if token == SPECIAL.mask]
    assert len(blanks) == len(starts)
    answers: dict[int, list[int]] = {}
    for place in np.flatnonzero(sample.branch == 1):
        answers.setdefault(int(sample.position_ids[place]), []).append(int(sample.targets[place]))
    assert sorted(answers) == blanks
    rebuilt: list[int] = []
    for n, token in enumerate(context):
        if n in answers:
            assert answers[n][-1] == SPECIAL.eop
            rebuilt += answers[n][:-1]
        else:
            rebuilt.append(token)
    assert rebuilt == text.tolist()


@given(windows())
def test_mask_sample_token_by_token(window: tuple[np.ndarray, ...]) -> None:
    text, starts, lengths, order = window
    sample = mask_sample(text, starts, lengths, order, SPECIAL)
    expected: list[tuple[int, int, int, int]] = []
    position_of: dict[int, int] = {}
    inside = {start + k: n for n, start in enumerate(starts) for k in range(lengths[n])}
    for place, token in enumerate(text):
        if place not in inside:
            expected.append((int(token), len(expected), 0, -1))
        elif place == starts[inside[place]]:
            position_of[inside[place]] = len(expected)
            expected.append((SPECIAL.mask, len(expected), 0, -1))
    for n in order:
        answer = [int(token) for token in text[starts[n] : starts[n] + lengths[n]]]
        for read, predict in zip([SPECIAL.sop, *answer], [*answer, SPECIAL.eop], strict=True):
            expected.append((read, position_of[n], 1, predict))
    columns = (sample.tokens, sample.position_ids, sample.branch, sample.targets)
    assert [tuple(int(value) for value in row) for row in zip(*columns, strict=True)] == expected


@given(st.integers(2, 200), st.data())
def test_gmask_sample(length: int, data: st.DataObject) -> None:
    target_length = data.draw(st.integers(1, length))
    text = np.arange(10, 10 + length)
    sample = gmask_sample(text, target_length, SPECIAL)
    prefix = length - target_length
    assert sample.tokens.tolist() == [*text[:prefix], SPECIAL.gmask, SPECIAL.sop, *text[prefix:-1]]
    assert sample.position_ids.tolist() == list(range(length + 1))
    assert sample.branch.tolist() == [0] * (prefix + 1) + [1] * target_length
    assert sample.targets.tolist() == [-1] * (prefix + 1) + text[prefix:].tolist()


def test_packing_pads_each_sample_and_keeps_them_apart() -> None:
    first = gmask_sample(np.array([11, 12, 13]), 2, SPECIAL)
    second = gmask_sample(np.array([21, 22]), 1, SPECIAL)
    packed = pack([first, second], slot_length=5, seq_length=12)
    assert packed.sample.tolist() == [0, 0, 0, 0, -1, 1, 1, 1, -1, -1, -1, -1]
    assert packed.tokens.tolist() == [11, 901, 904, 12, 0, 21, 901, 904, 0, 0, 0, 0]
    assert packed.targets.tolist() == [-1, -1, 12, 13, -1, -1, -1, 22, -1, -1, -1, -1]
    assert packed.num_targets == 3


def test_cut_keeps_the_first_places() -> None:
    sample = Sample(*(np.arange(n, n + 6) for n in range(4)))
    assert len(sample.cut(4)) == 4
    assert sample.cut(4).targets.tolist() == [3, 4, 5, 6]
