"""What the bridge to lm-evaluation-harness is made of, without the harness."""

from __future__ import annotations

import random
import sys
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from toy import TINY_NUMBERS

from glm130b.errors import ConfigError
from glm130b.evaluation.engine import Engine
from glm130b.evaluation.harness.cache import claim_cache
from glm130b.evaluation.harness.decoding import MAX_NEW_TOKENS, decode_of, options_of
from glm130b.evaluation.harness.greedy import decided, greedy_options
from glm130b.evaluation.harness.grouping import by_context
from glm130b.evaluation.harness.run import settings_of
from glm130b.evaluation.items import Answer, Choose
from glm130b.evaluation.task import Decode
from glm130b.model import GLM

TEXTS = st.sampled_from(["a", "b", "c"])


@given(st.lists(st.tuples(st.integers(0, 1), TEXTS, TEXTS)))
def test_every_request_is_found_in_its_context_once(requests: list[tuple[Hashable, str, str]]) -> None:
    groups = by_context(requests)
    found = {
        place: (group.context, option)
        for group in groups
        for option, places in zip(group.options, group.places, strict=True)
        for place in places
    }
    assert [found[n] for n in range(len(requests))] == [request[1:] for request in requests]
    assert sum(len(places) for group in groups for places in group.places) == len(requests)
    assert len(groups) == len({request[:2] for request in requests})
    assert all(len(set(group.options)) == len(group.options) for group in groups)


def test_options_keep_their_order() -> None:
    requests = [(0, "x", "b"), (0, "y", "b"), (0, "x", "a"), (1, "x", "c"), (0, "x", "b")]
    assert [(group.context, group.options, group.places) for group in by_context(requests)] == [
        ("x", ["b", "a"], [[0, 4], [2]]),
        ("y", ["b"], [[1]]),
        ("x", ["c"], [[3]]),
    ]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, (Decode(max_new_tokens=MAX_NEW_TOKENS), False)),
        ({"until": "\n", "max_gen_toks": 5}, (Decode(max_new_tokens=5, stop=("\n",)), False)),
        ({"until": ["a", "", "b"], "max_tokens": 7}, (Decode(max_new_tokens=7, stop=("a", "b")), False)),
        ({"do_sample": False, "temperature": 0.7, "top_p": 0.5}, (Decode(max_new_tokens=MAX_NEW_TOKENS), False)),
        ({"temperature": 0.7, "seed": 3}, (Decode(max_new_tokens=MAX_NEW_TOKENS, temperature=0.7, seed=3), True)),
        ({"do_sample": True, "top_p": 0.5}, (Decode(max_new_tokens=MAX_NEW_TOKENS, top_p=0.5), True)),
        ({"do_sample": True, "temperature": 0.0}, (Decode(max_new_tokens=MAX_NEW_TOKENS), False)),
        (
            {"num_beams": 4, "filter": "lambada"},
            (Decode(max_new_tokens=MAX_NEW_TOKENS, beams=4, filter="lambada"), False),
        ),
    ],
)
def test_generation_options(options: dict[str, Any], expected: tuple[Decode, bool]) -> None:
    assert decode_of(options) == expected


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"top_k": 5}, "'top_k'"),
        ({"max_gen_toks": 0}, "greater than 0"),
        ({"temperature": "hot"}, "hot"),
        ({"until": 3}, "iterable"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        decode_of(options)


@given(
    st.builds(
        Decode,
        max_new_tokens=st.integers(1, 99),
        beams=st.integers(1, 4),
        length_penalty=st.sampled_from([0.5, 1.0]),
        length_penalty_base=st.sampled_from(["output", "total"]),
        no_repeat_ngram=st.integers(0, 3),
        stop=st.lists(st.sampled_from(["\n", "."]), unique=True).map(tuple),
        filter=st.sampled_from(["none", "lambada"]),
    )
)
def test_best_answers_are_asked_for_as_they_were_exported(decode: Decode) -> None:
    assert decode_of(yaml.safe_load(yaml.safe_dump(options_of(decode)))) == (decode, False)


def test_a_cache_is_for_one_model_and_one_way_of_asking() -> None:
    answers: dict[str, Any] = {}
    claim_cache(answers, {"mask": "[MASK]", "weights": "a" * 64}, "x.db")
    answers["digest"] = (-1.0, False)
    before = dict(answers)
    claim_cache(answers, {"mask": "[MASK]", "weights": "a" * 64}, "x.db")
    with pytest.raises(ConfigError, match=r"x\.db was made with another mask \(\[MASK\], not \[gMASK\]\)"):
        claim_cache(answers, {"mask": "[gMASK]", "weights": "a" * 64}, "x.db")
    with pytest.raises(ConfigError, match=r"another weights\. Name another cache"):
        claim_cache(answers, {"mask": "[MASK]", "weights": "b" * 64}, "x.db")
    assert answers == before
    with pytest.raises(ConfigError, match="does not say whose"):
        claim_cache({"digest": (-1.0, False)}, {"mask": "[MASK]"}, "x.db")


def exported(**facts: Any) -> dict[str, Any]:
    return {"task": "mine", "metadata": {"version": 1.0, "glm130b": facts}}


def test_tasks_say_how_they_are_to_be_put() -> None:
    one, other = exported(mask="[gMASK]", attention="bidirectional"), exported(mask="[MASK]")
    assert settings_of([], {"mask": None}) == {}
    assert settings_of([{"task": "theirs"}, one], {}) == {"mask": "[gMASK]", "attention": "bidirectional"}
    assert settings_of([exported(window=64)], {"scored": 8, "mask": None}) == {"window": 64, "scored": 8}
    with pytest.raises(ConfigError, match=r"mine was exported for mask \[MASK\], and \[gMASK\]"):
        settings_of([one, other], {})
    with pytest.raises(ConfigError, match=r"for mask \[MASK\], and \[gMASK\]"):
        settings_of([other], {"mask": "[gMASK]"})


def slowly_greedy(model: GLM, request: Choose) -> list[bool]:
    """Token by token, one row for each."""
    found = []
    for option in request.options:
        chosen = []
        for n in range(len(option)):
            engine = Engine(model, TINY_NUMBERS)
            every = tuple((*option[:n], token) for token in range(model.config.vocab_size))
            asked = [Choose(request.text, (one,), request.mask, request.attention) for one in every]
            values = dict(pair for batch in engine.answer(asked) for pair in batch)
            best = max(range(len(every)), key=lambda token: values[token].log_probs[0])
            chosen.append(best == option[n])
        found.append(all(chosen))
    return found


@pytest.mark.parametrize(
    ("text", "mask", "attention"),
    [
        ("9 56 11", "[MASK]", "bidirectional"),
        ("9 10 11", "[gMASK]", "bidirectional"),
        ("9", "[gMASK]", "unidirectional"),
    ],
)
def test_greedy_options_are_those_of_a_slow_search(tiny: GLM, text: str, mask: Any, attention: Any) -> None:
    ids = tuple(map(int, text.split()))
    path: tuple[int, ...] = ()
    for _ in range(2):  # what greedy decoding writes
        every = [Choose(ids, ((*path, token),), mask, attention) for token in range(64)]
        values = dict(pair for batch in Engine(tiny, TINY_NUMBERS).answer(every) for pair in batch)
        path = (*path, max(range(64), key=lambda token: values[token].log_probs[0]))
    options = (path, path[:1], (path[0], (path[1] + 1) % 64), (7,), (7, 8))
    request = Choose(ids, options, mask, attention)
    ((_, answer),) = next(Engine(tiny, TINY_NUMBERS).answer([request]))
    assert None in decided(options, answer.log_probs)
    (found,) = greedy_options(tiny, TINY_NUMBERS.special, [request], [answer], 1)
    assert found == slowly_greedy(tiny, request) == [True, True, False, False, False]


@given(st.integers(0, 2**32))
def test_what_log_probabilities_decide_is_so(seed: int) -> None:
    draws = random.Random(seed)
    tables = {
        prefix: torch.tensor([draws.gauss(0, 3) for _ in range(4)]).log_softmax(0)
        for prefix in [(), *((n,) for n in range(4))]
    }
    options = [tuple(draws.randrange(4) for _ in range(draws.choice([1, 2]))) for _ in range(3)]
    values = [sum(float(tables[option[:n]][token]) for n, token in enumerate(option)) for option in options]
    for option, greedy in zip(options, decided(options, values), strict=True):
        really = all(int(tables[option[:n]].argmax()) == token for n, token in enumerate(option))
        assert greedy in (None, really)


def test_nothing_open_asks_nothing(tiny: GLM) -> None:
    tiny.hidden_states = None  # type: ignore[assignment, method-assign]
    request = Choose((9,), ((7,), (8,)), "[MASK]")
    assert greedy_options(tiny, TINY_NUMBERS.special, [request], [Answer((-0.1, -3.0))], 1) == [[True, False]]


class WithoutHarness:
    """Finds no lm-evaluation-harness, installed or not."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name.split(".")[0] == "lm_eval":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def test_without_the_harness_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "lm_eval"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "glm130b.evaluation.harness.bridge", raising=False)
    monkeypatch.setattr(sys, "meta_path", [WithoutHarness(), *sys.meta_path])
    from glm130b.evaluation.harness import run_harness

    with pytest.raises(ConfigError, match=r"no module lm_eval\. Install it with pip install 'glm130b\[harness\]'"):
        run_harness(["x"], tmp_path, tmp_path / "out")
