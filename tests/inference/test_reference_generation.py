"""Greedy decoding and blank filling against the authors' own runs."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from support import FIXTURES

from glm130b.inference import Sampling, answer, choose, fill_blanks, filter_logits, make_context
from glm130b.model import GLM
from glm130b.tokenization import SpecialTokens

SPECIAL = SpecialTokens(mask=496, gmask=497, smask=498, eod=499, sop=500, eop=501, enc=502, dblock=503, eos=2)
END = {SPECIAL.eop, SPECIAL.eos}
GENERATION: dict[str, Any] = json.loads((FIXTURES / "generation" / "generation.json").read_text())


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

    def recording(logits: torch.Tensor, *arguments: Any) -> int:
        seen.append(logits.clone())
        return choose(logits, *arguments)

    monkeypatch.setattr("glm130b.inference.decode.choose", recording)
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
    filled, answers = fill_blanks(reference, ids, SPECIAL, end=END, max_length=case["out_seq_length"], append_eos=True)
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


def test_greedy_is_the_default() -> None:
    logits = torch.tensor([0.0, 3.0, 1.0])
    assert choose(logits, Sampling(), torch.Generator()) == 1
    assert choose(logits, Sampling(), torch.Generator(), banned=[1]) == 2


def test_no_room_left_gives_an_empty_answer(reference: GLM) -> None:
    """Where the authors' program crashes."""
    for max_length in (5, 7):
        filled, answers = fill_blanks(
            reference, [10, 11, SPECIAL.mask, 12, 13, 14], SPECIAL, end=END, max_length=max_length
        )
        assert filled == [10, 11, 12, 13, 14]
        assert answers == [(SPECIAL.mask, [], False)]
