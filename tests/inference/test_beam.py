"""Beam search against enumeration, against a plain second version of the authors' rules, and against full passes."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support import TINY_SPECIAL as SPECIAL

from glm130b.errors import ConfigError, DataError
from glm130b.inference import Beams, BeamSearch, Hypothesis, OfficialBeams, answer, beam_search, make_context
from glm130b.model import GLM

VOCABULARY = 5
PROMPT = [3, 4, 0, 3, 1]
Scorer = Callable[[list[int]], torch.Tensor]


def make_scorer(seed: int) -> Scorer:
    """Random logits for every beginning of an answer; hashes of integers are the same in every process."""

    def logits(answer: list[int]) -> torch.Tensor:
        generator = torch.Generator().manual_seed(hash((seed, *answer)) % 2**63)
        return torch.randn(VOCABULARY, generator=generator) * 2

    return logits


def search(beams: Beams, scorer: Scorer, length: int) -> list[Hypothesis]:
    for _ in range(length):
        if beams.done:
            break
        beams.advance(torch.stack([scorer(tokens) for tokens in beams.answers]))
    return beams.hypotheses()


def ngrams(tokens: list[int], n: int) -> list[tuple[int, ...]]:
    return list(zip(*(tokens[i:] for i in range(n)), strict=False))


def enumerate_answers(
    scorer: Scorer, options: BeamSearch, *, end: set[int], length: int, banned: list[int], beginnings: list[list[int]]
) -> list[tuple[list[int], float]]:
    """Every answer that is allowed, with its score."""
    allowed = []
    for size in range(1, length + 1):
        for found in map(list, product(range(VOCABULARY), repeat=size)):
            ended = found[-1] in end
            if end & set(found[:-1]) or (size < length and not ended) or set(banned) & set(found):
                continue
            if ended and size <= options.min_new_tokens:
                continue
            if any(found[: len(beginning)] == beginning for beginning in beginnings):
                continue
            n = options.no_repeat_ngram
            body = found[:-1] if ended else found
            whole = PROMPT + body
            seen = ngrams(whole, n) if n else []
            if any(gram in seen[:place] for place, gram in enumerate(seen) if place + n > len(PROMPT)):
                continue
            total = sum(float(torch.log_softmax(scorer(found[:i]), 0)[found[i]]) for i in range(size))
            allowed.append((found, total / ((5 + size) / 6) ** options.length_penalty))
    return sorted(allowed, key=lambda pair: -pair[1])


@given(
    st.integers(0, 10**6),
    st.sampled_from([-1.0, 0.0, 0.7, 2.0]),
    st.integers(0, 3),
    st.integers(0, 2),
    st.sampled_from([[], [1], [0, 2]]),
    st.sampled_from([[], [[2]], [[0, 1], [2, 0]]]),
)
@settings(max_examples=40, deadline=None)
def test_with_enough_beams_every_answer_is_found(
    seed: int, penalty: float, ngram: int, least: int, banned: list[int], beginnings: list[list[int]]
) -> None:
    scorer, length, end = make_scorer(seed), 3, {4}
    options = BeamSearch(VOCABULARY**length, penalty, ngram, least)
    beams = Beams(PROMPT, options, end=end, max_new_tokens=length, banned=banned, banned_beginnings=beginnings)
    found = search(beams, scorer, length)
    expected = enumerate_answers(scorer, options, end=end, length=length, banned=banned, beginnings=beginnings)
    if not expected:  # nothing reaches the limit or an end: what can be reached is returned, cut
        assert not any(hypothesis.ended for hypothesis in found)
        return
    assert [hypothesis.tokens for hypothesis in found] == [tokens for tokens, _ in expected]
    assert [hypothesis.score for hypothesis in found] == pytest.approx([score for _, score in expected], abs=1e-4)
    assert all(hypothesis.ended == (hypothesis.tokens[-1] in end) for hypothesis in found)


@given(st.integers(0, 10**6), st.integers(1, 4), st.sampled_from([-1.0, 0.0, 0.7, 2.0]))
@settings(max_examples=60, deadline=None)
def test_stopping_early_loses_nothing(seed: int, num_beams: int, penalty: float) -> None:
    class Tireless(Beams):
        def _can_improve(self) -> bool:
            return True

    options = BeamSearch(num_beams, penalty)
    found = [
        search(kind(PROMPT, options, end={3, 4}, max_new_tokens=8), make_scorer(seed), 8) for kind in (Beams, Tireless)
    ]
    assert found[0] == found[1]


@given(st.integers(0, 10**6), st.integers(1, 6))
@settings(max_examples=40, deadline=None)
def test_one_beam_without_penalty_is_greedy(seed: int, length: int) -> None:
    scorer, greedy = make_scorer(seed), []
    while len(greedy) < length and (not greedy or greedy[-1] != 4):
        greedy.append(int(scorer(greedy).argmax()))
    (found,) = search(Beams(PROMPT, BeamSearch(1, 0.0), end={4}, max_new_tokens=length), scorer, length)
    assert (found.tokens, found.ended) == (greedy, greedy[-1] == 4)


def test_only_an_end_among_the_best_counts() -> None:
    logits = torch.tensor([[3.0, 2.0, 1.0, 0.0, -1.0]])
    for kind, finished in ((Beams, []), (OfficialBeams, [[2]])):
        beams = kind(PROMPT, BeamSearch(2), end={2}, max_new_tokens=4)
        assert beams.advance(logits) == [0, 0]
        assert beams.answers == [[0], [1]]
        assert [hypothesis.tokens for hypothesis in beams.finished] == finished


@pytest.mark.parametrize("kind", [Beams, OfficialBeams])
def test_ends_leave_room_for_those_that_go_on(kind: type[Beams]) -> None:
    beams = kind(PROMPT, BeamSearch(1), end={2, 3, 4}, max_new_tokens=4)
    beams.advance(torch.tensor([[0.0, -1.0, 1.0, 2.0, 3.0]]))
    assert beams.answers == [[0]]


def test_a_repeat_at_total_length_n_is_not_seen_by_the_authors() -> None:
    logits = torch.tensor([[0.0, 5.0, 1.0, 0.0, -1.0]])
    for kind, second in ((Beams, 2), (OfficialBeams, 1)):
        beams = kind([1], BeamSearch(1, 0.0, no_repeat_ngram=2), end={4}, max_new_tokens=4)
        beams.advance(logits)
        assert beams.answers == [[1]]
        beams.advance(logits)
        assert beams.answers == [[1, second]]


def test_of_equal_scores() -> None:
    """An end after one token, and one after two of which the second is certain."""
    steps = torch.tensor([[[0.0, -1e9, -1e9, -1e9, 0.0]], [[-1e9, -1e9, -1e9, -1e9, 0.0]]])
    for kind, order in ((Beams, [[4], [0, 4]]), (OfficialBeams, [[0, 4], [4]])):
        beams = kind(PROMPT, BeamSearch(2, 0.0), end={4}, max_new_tokens=2)
        for logits in steps:
            beams.advance(logits.expand(len(beams.answers), -1))
        assert [hypothesis.tokens for hypothesis in beams.finished] == order
        assert beams.finished[0].score == beams.finished[1].score


def test_bans_do_not_change_what_is_left() -> None:
    logits = torch.tensor([[3.0, 2.0, 1.0, 0.0, -1.0]])
    own, renormalised = torch.log_softmax(logits[0], 0)[1:3], torch.log_softmax(logits[0, 1:], 0)[:2]
    for kind, expected in ((Beams, own), (OfficialBeams, renormalised)):
        beams = kind(PROMPT, BeamSearch(2), end={4}, max_new_tokens=4, banned=[0])
        beams.advance(logits)
        assert beams.sums == pytest.approx(expected.tolist(), abs=1e-6)


def test_when_nothing_is_allowed_the_answer_is_cut() -> None:
    beams = Beams(PROMPT, BeamSearch(2), end={4}, max_new_tokens=4, banned=range(5))
    assert beams.advance(torch.zeros(1, 5)) == []
    assert beams.hypotheses() == [Hypothesis([], 0.0, False)]
    once = Beams([0, 1, 2, 3], BeamSearch(2, no_repeat_ngram=1, min_new_tokens=3), end={4}, max_new_tokens=4)
    assert not search(once, make_scorer(1), 4)[0].ended


def plain_official_search(
    prompt: list[int], scorer: Scorer, options: BeamSearch, end: set[int], length: int, banned: list[int]
) -> list[tuple[float, list[int]]]:
    """The authors' rules once more, one beam at a time, with tables of n-grams."""
    n, size = options.no_repeat_ngram, options.num_beams
    beams: list[tuple[float, list[int], dict[tuple[int, ...], set[int]]]] = [(0.0, list(prompt), {})]
    finished: list[tuple[float, list[int]]] = []

    def penalised(total: float, tokens: list[int]) -> float:
        return total / ((5 + len(tokens)) / 6) ** options.length_penalty

    def add(total: float, tokens: list[int]) -> None:
        score, place = penalised(total, tokens), 0
        while place < len(finished) and finished[place][0] > score:
            place += 1
        finished.insert(place, (score, tokens))
        del finished[size:]

    for step in range(length):
        candidates = []
        for number, (total, tokens, table) in enumerate(beams):
            logits = scorer(tokens[len(prompt) :]).clone()
            logits[banned] = -65504
            if step < options.min_new_tokens:
                logits[list(end)] = -65504
            if n > 0 and len(tokens) > n:
                logits[list(table.get(tuple(tokens[-(n - 1) :]), ()))] = -65504
            for token, value in enumerate(torch.log_softmax(logits, 0).tolist()):
                candidates.append((total + value, number, token))
        candidates.sort(key=lambda candidate: -candidate[0])
        going = []
        for total, number, token in candidates[: (len(end) + 1) * size]:
            tokens, table = beams[number][1], beams[number][2]
            if token in end:
                add(total, [*tokens, token])
            elif len(going) < size:
                copy = {key: set(value) for key, value in table.items()}
                copy.setdefault(tuple(tokens[-(n - 1) :]), set()).add(token)
                going.append((total, [*tokens, token], copy))
            else:
                break
        beams = going
        if len(finished) == size and finished[-1][0] >= penalised(beams[0][0], beams[0][1]):
            return finished
    for total, tokens, _ in beams:
        add(total, tokens)
    return finished


@given(
    st.integers(0, 10**6),
    st.integers(1, 4),
    st.sampled_from([0.0, 0.7, 1.5]),
    st.integers(0, 4),
    st.integers(0, 3),
    st.sampled_from([[], [1]]),
    st.sampled_from([PROMPT, [1], [0, 1]]),
)
@settings(max_examples=100, deadline=None)
def test_the_authors_rules(
    seed: int, num_beams: int, penalty: float, n: int, least: int, banned: list[int], prompt: list[int]
) -> None:
    scorer, length, end = make_scorer(seed), 7, {3, 4}
    options = BeamSearch(num_beams, penalty, n, least, compat="glm130b")
    found = search(OfficialBeams(prompt, options, end=end, max_new_tokens=length, banned=banned), scorer, length)
    expected = plain_official_search(prompt, scorer, options, end, length, banned)
    likely = [pair for pair in expected if pair[0] > -1000]  # among excluded ones rounding decides
    assert [prompt + hypothesis.tokens for hypothesis in found][: len(likely)] == [tokens for _, tokens in likely]
    assert [hypothesis.score for hypothesis in found][: len(likely)] == pytest.approx(
        [score for score, _ in likely], abs=1e-4
    )


@pytest.mark.parametrize("ids", [[5, 6, 56, 7], [5, 6, 57]])
@pytest.mark.parametrize("compat", [None, "glm130b"])
def test_scores_are_the_models(tiny: GLM, ids: list[int], compat: Any) -> None:
    """Sums of log-probabilities recomputed in one full pass without a cache."""
    context = make_context(ids, SPECIAL)
    options = BeamSearch(3, length_penalty=1.3, no_repeat_ngram=2 if compat is None else 0, compat=compat)
    found = beam_search(tiny, context, end={7, 8, 9}, max_new_tokens=10, options=options)
    assert len(found) == 3
    for hypothesis in found:
        steps = range(len(hypothesis.tokens) - 1)
        tokens = torch.tensor([[*context.tokens, *hypothesis.tokens[:-1]]])
        positions = torch.tensor([[*context.position_ids, *(context.answer_position(n) for n in steps)]])
        branch = torch.tensor([[*context.branch, *[1] * len(steps)]])
        logits = tiny(tokens, positions, torch.zeros_like(tokens), branch)[0, len(context.tokens) - 1 :]
        total = torch.log_softmax(logits, -1)[torch.arange(len(hypothesis.tokens)), hypothesis.tokens].sum()
        counted = len(hypothesis.tokens) + (len(context.tokens) if compat else 0)
        assert hypothesis.score == pytest.approx(float(total) / ((5 + counted) / 6) ** 1.3, abs=1e-4)
        assert hypothesis.ended == (hypothesis.tokens[-1] in {7, 8, 9})


def test_one_beam_of_a_model_is_its_greedy_answer(tiny: GLM) -> None:
    context = make_context([5, 6, 56, 7], SPECIAL)
    (found,) = beam_search(tiny, context, end={SPECIAL.eop}, max_new_tokens=12, options=BeamSearch(1, 0.0))
    assert found.tokens == list(answer(tiny, context, end={SPECIAL.eop}, max_new_tokens=12))


def test_padding_counts_for_the_authors_alone(tiny: GLM) -> None:
    context = make_context([5, 6, 56, 7], SPECIAL)

    def scores(padding: int, compat: Any) -> list[float]:
        options = BeamSearch(2, compat=compat)
        found = beam_search(tiny, context, end={7}, max_new_tokens=5, options=options, padding=padding)
        return [hypothesis.score for hypothesis in found]

    assert scores(27, None) == scores(0, None)
    assert max(scores(27, "glm130b")) > max(scores(0, "glm130b"))


def test_limits(tiny: GLM) -> None:
    with pytest.raises(DataError, match="the model reads at most 64"):
        beam_search(tiny, make_context([5] * 70, SPECIAL), end={7}, max_new_tokens=3)
    assert beam_search(tiny, make_context([5], SPECIAL), end={7}, max_new_tokens=0) == [Hypothesis([], 0.0, False)]
    found = beam_search(tiny, make_context([5] * 60, SPECIAL), end=(), max_new_tokens=30)
    assert [len(hypothesis.tokens) for hypothesis in found] == [2] * 4


@pytest.mark.parametrize(
    "options",
    [
        {"num_beams": 0},
        {"length_penalty": math.nan},
        {"length_penalty": 11.0},
        {"no_repeat_ngram": -1},
        {"min_new_tokens": -1},
        {"compat": "other"},
    ],
)
def test_senseless_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="Cannot search"):
        BeamSearch(**options)


def test_ids_that_the_model_does_not_have_need_no_ban() -> None:
    options: Any = {"end": {3, 99}, "max_new_tokens": 3, "banned": [1, 46010], "banned_beginnings": [[2, 46010], [2]]}
    for kind in (Beams, OfficialBeams):
        beams = kind([7], BeamSearch(2, min_new_tokens=1), **options)
        beams.advance(torch.zeros(1, 5))
        assert {tokens[0] for tokens in beams.answers} == {0, 4}
        with pytest.raises(DataError, match="A banned beginning has no tokens"):
            kind([7], BeamSearch(2), **{**options, "banned_beginnings": [[]]})


def test_the_authors_repeats_reach_back_into_padding() -> None:
    """After padding 0 0, an answer 5 0 may not go on with what followed a 0 in the answer, nor 0 with 5."""
    beams = OfficialBeams([7, 0, 0], BeamSearch(1, no_repeat_ngram=2), end={9}, max_new_tokens=9)
    chosen = []
    for token in (5, 0, 5, 6):
        logits = torch.zeros(1, 10)
        logits[0, token], logits[0, 6] = 9.0, 1.0
        beams.advance(logits)
        chosen.append(beams.answers[0][-1])
    assert chosen == [5, 0, 6, 6]
