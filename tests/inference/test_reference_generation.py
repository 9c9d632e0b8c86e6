"""Greedy decoding and blank filling against the authors' own runs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from support import FIXTURES, GENERATION, MANIFEST, SPECIAL, load_case

from glm130b.inference import (
    BeamSearch,
    Context,
    Conventions,
    OfficialBeams,
    answer,
    answer_batch,
    beam_search,
    draw,
    fill_blanks,
    filter_logits,
    generation_context,
    make_context,
)
from glm130b.model import GLM

END = frozenset({SPECIAL.eop, SPECIAL.eos})
AUTHORS = Conventions(end=END, append_eos=True)


@pytest.mark.parametrize("name", [name for name in GENERATION if name.startswith("greedy_")])
def test_greedy(reference: GLM, name: str) -> None:
    case = GENERATION[name]
    context = make_context(case["prompt"], SPECIAL)
    budget = case["out_seq_length"] - len(context.tokens)
    found = list(answer(reference, context, end=END, max_new_tokens=budget))
    assert context.tokens + found == case["output"]


@pytest.mark.parametrize("name", [name for name in GENERATION if name.startswith("greedy_")])
def test_logits_at_each_greedy_step(reference: GLM, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.Tensor] = []

    def recording(logits: torch.Tensor, *arguments: Any) -> torch.Tensor:
        seen.append(logits[0].clone())
        return draw(logits, *arguments)

    monkeypatch.setattr("glm130b.inference.decode.draw", recording)
    case = GENERATION[name]
    context = make_context(case["prompt"], SPECIAL)
    budget = case["out_seq_length"] - len(context.tokens)
    list(answer(reference, context, end=END, max_new_tokens=budget))
    with np.load(FIXTURES / "generation" / "greedy_step_logits.npz") as expected:
        assert np.abs(torch.stack(seen).numpy() - expected[name]).max() < 1e-4


@pytest.mark.parametrize("name", GENERATION["fill_blanks"])
def test_fill_blanks(reference: GLM, name: str) -> None:
    case = GENERATION["fill_blanks"][name]
    names = {"[MASK]": SPECIAL.mask, "[gMASK]": SPECIAL.gmask, "[sMASK]": SPECIAL.smask}
    ids = [names[word] if word in names else int(word) for word in case["raw_text"].split()]
    filled, answers = fill_blanks(reference, ids, SPECIAL, AUTHORS, max_length=case["out_seq_length"])
    assert " ".join(map(str, filled)) == case["answers"][0]
    assert [" ".join(map(str, found)) for _, found, _ in answers] == case["blanks"][0]


@pytest.mark.parametrize(
    ("key", "top_k", "top_p"), [("k0_p07", 0, 0.7), ("k10_p0", 10, 0.0), ("k10_p07", 10, 0.7), ("k0_p095", 0, 0.95)]
)
def test_sampling_filter(key: str, top_k: int, top_p: float) -> None:
    with np.load(FIXTURES / "generation" / "sampling_filter.npz") as content:
        logits = torch.from_numpy(content["logits"][0])
        expected = torch.from_numpy(content[key][0])
    assert torch.equal(filter_logits(logits, top_k=top_k, top_p=top_p), expected)


def test_no_room_left_gives_an_empty_answer(reference: GLM) -> None:
    """Where the authors' program crashes."""
    for max_length in (5, 7):
        filled, answers = fill_blanks(
            reference, [10, 11, SPECIAL.mask, 12, 13, 14], SPECIAL, Conventions(end=END), max_length=max_length
        )
        assert filled == [10, 11, 12, 13, 14]
        assert answers == [(SPECIAL.mask, [], False)]


def contexts_of(case: str) -> list[Context]:
    given = MANIFEST[case]
    return [generation_context(text, SPECIAL, **given["config"]) for text in given["texts"]]


@pytest.mark.parametrize("name", [name for name in GENERATION if name.startswith("eval_greedy_")])
def test_evaluation_greedy(reference: GLM, name: str) -> None:
    case = GENERATION[name]
    steps = MANIFEST[case["case"]]["config"]["max_gen_length"]
    answers = answer_batch(reference, contexts_of(case["case"]), end=END, max_new_tokens=steps)
    assert [[token for token in found if token not in END] for found in answers] == case["outputs"]


def longest_within(context: Context, case: dict[str, Any]) -> int:
    return case["out_seq_length"] - len(context.tokens)


@pytest.mark.parametrize("name", [name for name in GENERATION if name.startswith("beam_")])
def test_beams(reference: GLM, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case, trace = GENERATION[name], []
    advance = OfficialBeams.advance

    def recording(beams: OfficialBeams, logits: torch.Tensor) -> list[int]:
        parents = advance(beams, logits)
        trace.append((beams.sums, [tokens[-1] for tokens in beams.answers], len(beams.finished)))
        return parents

    monkeypatch.setattr(OfficialBeams, "advance", recording)
    context = make_context(case["prompt"], SPECIAL)
    found = beam_search(
        reference,
        context,
        end=END,
        max_new_tokens=longest_within(context, case),
        options=options_of(case["strategy"]),
        banned=case["strategy"].get("invalid_slices", ()),
        banned_beginnings=case["strategy"].get("banned_prefix", ()),
    )
    assert [context.tokens + hypothesis.tokens for hypothesis in found] == case["outputs"]
    assert [hypothesis.score for hypothesis in found] == pytest.approx(case["scores"], abs=3e-4)
    assert [hypothesis.ended for hypothesis in found] == [tokens[-1] in END for tokens in case["outputs"]]
    if "trace" not in case:
        return
    assert len(trace) == len(case["trace"])
    for (sums, last, finished), expected in zip(trace, case["trace"], strict=True):
        assert sums == pytest.approx(expected["scores"][0], abs=3e-4)
        assert (last, [finished]) == (expected["last"][0], expected["finished"])


@pytest.mark.parametrize("name", [name for name in GENERATION if name.startswith("eval_beam_")])
def test_evaluation_beams(reference: GLM, name: str) -> None:
    case = GENERATION[name]
    steps = MANIFEST[case["case"]]["config"]["max_gen_length"]
    contexts = contexts_of(case["case"])
    padded = load_case(case["case"])["tokens"].shape[1]
    for n, context in enumerate(contexts):
        found = beam_search(
            reference,
            context,
            end=END,
            max_new_tokens=steps,
            options=options_of(case["strategy"]),
            padding=padded - len(context.tokens),
        )
        assert [[token for token in answer.tokens if token not in END] for answer in found] == case["outputs"][n]
        assert [answer.score for answer in found] == pytest.approx(case["scores"][n], abs=3e-4)


def options_of(strategy: dict[str, Any]) -> BeamSearch:
    return BeamSearch(
        num_beams=strategy["num_beams"],
        length_penalty=strategy["length_penalty"],
        no_repeat_ngram=strategy["no_repeat_ngram_size"],
        min_new_tokens=strategy["min_gen_length"],
        compat="glm130b",
    )
