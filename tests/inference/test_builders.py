"""Builders against the authors' own inputs, and their masks against section-by-section descriptions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support import FIXTURES, MANIFEST, SPECIAL, load_case

from glm130b.errors import ConfigError, DataError
from glm130b.inference import (
    ChoiceItem,
    Context,
    all_single_token,
    choice_item,
    generation_context,
    language_model_windows,
    make_context,
    pad_rows,
)
from glm130b.model import visible

TEXTS = st.lists(st.integers(8, 495), max_size=40)


def hidden(columns: torch.Tensor) -> np.ndarray:
    """The rule as a dense mask ``[B, S, S]``, True where hidden."""
    _, _, sample, branch = columns
    slot = torch.arange(sample.shape[1])
    seen = visible(
        sample[:, :, None], branch[:, :, None], slot[None, :, None], sample[:, None], branch[:, None], slot[None, None]
    )
    return ~seen.numpy()


def check(columns: torch.Tensor, case: dict[str, np.ndarray]) -> None:
    assert np.array_equal(columns[0], case["tokens"])
    assert np.array_equal(columns[1], case["position_ids"])
    assert np.array_equal(columns[2] == 0, case["valid"])
    valid = case["valid"]
    assert np.array_equal(hidden(columns)[valid], case["attention_mask"][valid])


def answered(context: Context, answer: Sequence[int]) -> Context:
    """A context with its answer, as one row."""
    positions = [context.answer_position(n) for n in range(len(answer))]
    return Context(
        context.tokens + list(answer),
        context.position_ids + positions,
        context.branch + [1] * len(answer),
        context.blank,
        context.repeats,
    )


@pytest.mark.parametrize("name", [name for name, case in MANIFEST.items() if case["builder"].startswith("generate.py")])
def test_interactive_contexts(name: str) -> None:
    case = MANIFEST[name]
    prompt = case["prompt"]  # stored with the eos that the program appends
    context = make_context(prompt[:-1] if prompt[-1] == SPECIAL.eos else prompt, SPECIAL, append_eos=True)
    assert (context.blank, len(context.tokens)) == (case["mask_position"], case["context_length"])
    check(pad_rows([answered(context, case["targets"])], multiple=1), load_case(name))


@pytest.mark.parametrize("name", [name for name in MANIFEST if name.startswith("gen_")])
def test_generation_contexts(name: str) -> None:
    case = MANIFEST[name]
    contexts = [generation_context(text, SPECIAL, **case["config"]) for text in case["texts"]]
    expected = load_case(name)
    columns = pad_rows(contexts)
    check(columns, expected)
    assert [len(context.tokens) for context in contexts] == expected["context_length"].tolist()
    steps = range(case["config"]["max_gen_length"])
    targets = [[context.answer_position(n) for n in steps] for context in contexts]
    assert targets == expected["target_position_ids"].tolist()

    # Answers lie behind the padding: sample 0, branch 1.
    new = torch.tensor([[[-1] * len(steps)] * len(contexts), targets, [[0] * len(steps)] * len(contexts)])
    extended = torch.cat([columns, torch.cat([new, torch.ones_like(new[:1])])], dim=2)
    with np.load(FIXTURES / "generation" / "eval_extended_inputs.npz") as stored:
        valid = np.concatenate([expected["valid"], np.ones((len(contexts), len(steps)), dtype=bool)], axis=1)
        case = {key: stored[f"{name}.{key}"] for key in ("tokens", "position_ids", "attention_mask")}
        check(extended, {**case, "valid": valid})


def build(case: dict[str, Any]) -> list[ChoiceItem]:
    return [
        choice_item(item["inputs"], item["choices"], SPECIAL, single_token=case["is_single_token"], **case["config"])
        for item in case["items"]
    ]


@pytest.mark.parametrize("name", [name for name in MANIFEST if name.startswith("mc_")])
def test_choices(name: str) -> None:
    case = MANIFEST[name]
    assert all_single_token(item["choices"] for item in case["items"]) == case["is_single_token"]
    items = build(case)
    check(pad_rows(items), load_case(name))
    for item, rows in zip(items, case["choice_target_ids"], strict=True):
        assert item.rows == ([rows] * len(item.choices) if case["is_single_token"] else rows)


@pytest.mark.parametrize("name", [name for name in MANIFEST if name.startswith("lm_")])
def test_windows(name: str) -> None:
    case = MANIFEST[name]
    windows = language_model_windows(case["document"], SPECIAL, **case["config"])
    assert len(windows) == case["num_windows"]
    window, expected = windows[case["window"]], load_case(name)
    check(pad_rows([window], multiple=1), expected)
    assert window.targets == expected["targets"][0].tolist()
    counted = expected["loss_masks"][0].tolist()
    assert counted == [int(row >= window.first_counted) for row in range(len(counted))]


@given(TEXTS, st.integers(0, 60), st.sampled_from(["mask", "gmask", "unidirectional"]), st.data())
@settings(max_examples=60, deadline=None)
def test_generation_contexts_see_what_they_should(text: list[int], room: int, form: str, data: st.DataObject) -> None:
    """Against the description of the mask, position by position."""
    inside = form == "mask" and bool(text) and data.draw(st.booleans())
    if inside:
        text = list(text)
        text[data.draw(st.integers(0, len(text) - 1))] = SPECIAL.mask
    options = {"use_task_mask": form != "mask", "unidirectional": form == "unidirectional"}
    kept = text[max(0, len(text) - room) :] if room else []
    if (len(text) > room and not room) or (inside and SPECIAL.mask not in kept):
        with pytest.raises(DataError):
            generation_context(text, SPECIAL, max_gen_length=3, max_seq_length=room + 5, **options)
        return
    context = generation_context(text, SPECIAL, max_gen_length=3, max_seq_length=room + 5, **options)
    kind = SPECIAL.mask if form == "mask" else SPECIAL.gmask
    if form == "unidirectional":
        assert context.tokens == [kind, SPECIAL.sop, *kept]
    else:
        assert context.tokens == [*kept, *([] if inside else [kind]), SPECIAL.sop]
    C = len(context.tokens)
    assert len(context.tokens) <= room + 2
    row = answered(context, [9, 9, 9])
    seen = ~hidden(pad_rows([row], multiple=1))[0]
    for q in range(C + 3):
        for k in range(C + 3):
            block = form != "unidirectional" and q < C - 1 and k < C - 1
            assert seen[q, k] == (k <= q or block)
    place = row.tokens.index(kind)
    assert row.position_ids == ([*range(C - 1), *[place] * 4] if form == "mask" else [*range(C + 3)])


@given(
    TEXTS,
    st.lists(st.lists(st.integers(8, 495), min_size=1, max_size=4), min_size=1, max_size=4),
    st.booleans(),
    st.booleans(),
    st.integers(2, 60),
    st.data(),
)
@settings(max_examples=60, deadline=None)
def test_choices_see_what_they_should(
    text: list[int], choices: list[list[int]], task_mask: bool, multitask: bool, limit: int, data: st.DataObject
) -> None:
    kind = SPECIAL.gmask if task_mask else SPECIAL.mask
    inside = bool(text) and data.draw(st.booleans())
    if inside:
        text = list(text)
        text[data.draw(st.integers(0, len(text) - 1))] = kind
    single = all_single_token([choices]) and data.draw(st.booleans())
    short = all(len(choice) == 1 for choice in choices)
    total = 1 if short else sum(len(choice) for choice in choices)
    options: dict[str, Any] = {
        "single_token": single,
        "use_task_mask": task_mask,
        "use_multitask_encoding": multitask,
        "max_seq_length": limit,
    }
    room = limit - total - 2
    if len(text) > room and (room < 1 or (inside and kind not in text[-room:])):
        with pytest.raises(DataError):
            choice_item(text, choices, SPECIAL, **options)
        return
    item = choice_item(text, choices, SPECIAL, **options)
    assert len(item.tokens) <= limit + (len(choices) - 1 if short and not single else 0)
    context = (text[-room:] if len(text) > room else text) + ([] if inside else [kind])
    D, blank = len(context), context.index(kind)
    tokens, positions, owner = list(context), list(range(D)), [0] * D
    for number, choice in enumerate(choices[:1] if single else choices):
        for n, token in enumerate([SPECIAL.sop, *choice[:-1]]):
            tokens.append(token)
            running = D + n if task_mask else blank + n
            positions.append(running if task_mask or (multitask and not inside) else blank)
            owner.append(number + 1)
    assert (item.tokens, item.position_ids) == (tokens, positions)
    seen = ~hidden(pad_rows([item], multiple=1))[0]
    for q, q_owner in enumerate(owner):
        for k, k_owner in enumerate(owner):
            assert seen[q, k] == (k_owner == 0 or (q_owner == k_owner and k <= q))
    for number, (choice, rows) in enumerate(zip(choices, item.rows, strict=True)):
        assert [owner[row] for row in rows] == [1 if single else number + 1] * len(choice)
        assert [tokens[row] for row in rows] == [SPECIAL.sop, *choice[:-1]]


@given(st.integers(1, 80), st.integers(2, 20), st.data(), st.booleans())
@settings(max_examples=60, deadline=None)
def test_windows_cover_a_document(length: int, limit: int, data: st.DataObject, unidirectional: bool) -> None:
    step = data.draw(st.integers(1, limit - 1))
    document = list(range(1000, 1000 + length))

    def make(**options: Any) -> list[Any]:
        return language_model_windows(document, SPECIAL, generation_length=step, max_seq_length=limit, **options)

    def counted(windows: list[Any]) -> list[int]:
        return [token for window in windows for token in window.targets[window.first_counted :]]

    assert counted(make()) == document
    assert counted(make(unidirectional=unidirectional, count_once=True)) == document
    for number, window in enumerate(make(unidirectional=unidirectional)):
        held = document[number * step : number * step + limit - 1]
        prompt = [] if unidirectional or number == 0 else held[: limit - 1 - step]
        text = held[len(prompt) :]
        assert window.tokens == [*prompt, SPECIAL.gmask, SPECIAL.sop, *text[:-1]]
        assert window.targets == [*prompt, SPECIAL.gmask, *text]
        assert window.targets[window.first_counted :] == text
        seen = ~hidden(pad_rows([window], multiple=1))[0]
        P = len(prompt) + 1
        expected = np.tril(np.ones_like(seen))
        expected[:P, :P] = True
        assert np.array_equal(seen, expected)


@given(st.lists(TEXTS, min_size=1, max_size=4), st.integers(1, 40))
@settings(max_examples=30, deadline=None)
def test_padding_is_hidden_and_token_zero(texts: list[list[int]], multiple: int) -> None:
    contexts = [make_context(text, SPECIAL) for text in texts]
    columns = pad_rows(contexts, multiple=multiple)
    longest = max(len(context.tokens) for context in contexts)
    assert columns.shape[2] % multiple == 0
    assert longest <= columns.shape[2] < longest + multiple
    for row, context in enumerate(contexts):
        size = len(context.tokens)
        assert columns[:, row, :size].tolist() == [context.tokens, context.position_ids, [0] * size, context.branch]
        assert columns[:, row, size:].unique(dim=1).flatten().tolist() in ([], [0, 0, -1, 0])
        assert hidden(columns)[row, :size, size:].all()


def test_what_is_refused() -> None:
    with pytest.raises(ConfigError, match="need \\[gMASK\\]"):
        generation_context([9], SPECIAL, max_gen_length=3, unidirectional=True)
    with pytest.raises(DataError, match="holds one already"):
        generation_context([9, SPECIAL.gmask], SPECIAL, max_gen_length=3, use_task_mask=True)
    with pytest.raises(DataError, match="its blank is not among them"):
        generation_context([SPECIAL.mask, *range(8, 30)], SPECIAL, max_gen_length=3, max_seq_length=20)
    with pytest.raises(DataError, match="room for 0 of a text's 1"):
        generation_context([9], SPECIAL, max_gen_length=30, max_seq_length=20)
    for choices in ([], [[9], []]):
        with pytest.raises(DataError, match="empty choice"):
            choice_item([9], choices, SPECIAL, single_token=False)
    with pytest.raises(DataError, match="several tokens"):
        choice_item([9], [[9, 9]], SPECIAL, single_token=True)
    with pytest.raises(DataError, match="room for 0 of a text's 1"):
        choice_item([9], [[9] * 10, [9] * 10], SPECIAL, single_token=False, max_seq_length=20)
    with pytest.raises(DataError, match="its blank is not among them"):
        choice_item([SPECIAL.mask, *range(8, 30)], [[9]], SPECIAL, single_token=False, max_seq_length=20)
    with pytest.raises(DataError, match="no tokens"):
        language_model_windows([], SPECIAL, generation_length=3)
    for length in (0, 20):
        with pytest.raises(ConfigError, match="generation_length is"):
            language_model_windows([9], SPECIAL, generation_length=length, max_seq_length=20)
