"""Written answers: alone and side by side the same, the authors' where they have some."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import GENERATION, MANIFEST, SPECIAL, TINY_SPECIAL
from toy import REFERENCE_NUMBERS, TINY_NUMBERS, official

from glm130b.evaluation.engine import Engine, seed_of
from glm130b.evaluation.items import Answer, Write
from glm130b.evaluation.lambada import Bans, lambada_bans, last_word
from glm130b.evaluation.task import Decode
from glm130b.inference import BeamSearch, Reader, Sampling, answer, beam_search, conventions_of, generation_context
from glm130b.model import GLM
from glm130b.tokenization import Tokenizer

WORDS = st.integers(3, 55)


def answers(engine: Engine, requests: Sequence[Write]) -> list[Answer]:
    found = [pair for batch in engine.answer(requests) for pair in batch]
    return [answer for _, answer in sorted(found, key=lambda pair: pair[0])]


def write(text: Sequence[int], draw: int = 0, mask: str = "[gMASK]", **options: object) -> Write:
    decode = Decode.model_validate({"max_new_tokens": 8, **options})
    return Write(tuple(text), mask, "bidirectional", decode, draw)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [name for name in GENERATION if name.startswith("eval_greedy_")])
def test_the_authors_greedy_answers(reference: GLM, name: str) -> None:
    case = GENERATION[name]
    given_ = MANIFEST[case["case"]]
    config = dict(given_["config"])
    decode = Decode(max_new_tokens=config["max_gen_length"])
    mask = "[gMASK]" if config.get("use_task_mask") else "[MASK]"
    attention = "unidirectional" if config.get("unidirectional") else "bidirectional"
    requests = [Write(kept(text, config), mask, attention, decode) for text in given_["texts"]]
    found = answers(Engine(official(reference), REFERENCE_NUMBERS), requests)
    names = SPECIAL.names()
    expected = [" ".join(str(token) for token in ids if token not in names) for ids in case["outputs"]]
    assert [answer.text for answer in found] == expected


@pytest.mark.parametrize("name", [name for name in GENERATION if name.startswith("eval_beam_")])
def test_the_authors_beams(reference: GLM, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = GENERATION[name]
    given_, strategy = MANIFEST[case["case"]], case["strategy"]
    config = given_["config"]
    monkeypatch.setattr(
        "glm130b.evaluation.engine.BeamSearch", partial(BeamSearch, min_new_tokens=strategy["min_gen_length"])
    )
    decode = Decode(
        max_new_tokens=config["max_gen_length"],
        beams=strategy["num_beams"],
        length_penalty=strategy["length_penalty"],
        length_penalty_base="total",
        no_repeat_ngram=strategy["no_repeat_ngram_size"],
    )
    mask = "[gMASK]" if config.get("use_task_mask") else "[MASK]"
    attention = "unidirectional" if config.get("unidirectional") else "bidirectional"
    requests = [Write(kept(text, config), mask, attention, decode) for text in given_["texts"]]
    found = answers(Engine(official(reference), REFERENCE_NUMBERS), requests)
    names = SPECIAL.names()
    expected = [" ".join(str(token) for token in beams[0] if token not in names) for beams in case["outputs"]]
    assert [answer.text for answer in found] == expected


def kept(text: Sequence[int], config: dict[str, object]) -> tuple[int, ...]:
    """The text as the authors cut it, less the blank and sop that are put to it."""
    context = generation_context(text, SPECIAL, **config)  # type: ignore[arg-type]
    if config.get("unidirectional"):
        return tuple(context.tokens[2:])
    end = -1 if SPECIAL.mask in text else -2
    return tuple(context.tokens[:end])


def test_the_authors_lambada_search(reference: GLM, monkeypatch: pytest.MonkeyPatch) -> None:
    case = GENERATION["beam_lambada_gmask"]
    strategy = case["strategy"]
    monkeypatch.setattr("glm130b.evaluation.engine._PADDING", 1)  # the case is of their interactive program
    bans = Bans(tuple(strategy["invalid_slices"]), tuple(map(tuple, strategy["banned_prefix"])))
    monkeypatch.setattr("glm130b.evaluation.engine.lambada_bans", lambda *_, **__: bans)
    prompt = case["prompt"]
    request = write(
        prompt[:-1],
        max_new_tokens=case["out_seq_length"] - len(prompt) - 1,
        beams=strategy["num_beams"],
        length_penalty=strategy["length_penalty"],
        length_penalty_base="total",
        no_repeat_ngram=strategy["no_repeat_ngram_size"],
        filter="lambada",
    )
    (found,) = answers(Engine(official(reference), REFERENCE_NUMBERS), [request])
    best = case["outputs"][0][len(prompt) + 1 :]
    assert best[-1] == SPECIAL.eop
    names = SPECIAL.names()
    assert found == Answer(text=" ".join(str(token) for token in best if token not in names), ended=True)
    chosen: list[Sequence[str]] = []

    def second(texts: Sequence[str]) -> int:
        chosen.append(texts)
        return 1

    monkeypatch.setattr("glm130b.evaluation.engine.last_word", second)
    (found,) = answers(Engine(official(reference), REFERENCE_NUMBERS), [request])
    assert found.text == chosen[0][1]
    assert len(chosen[0]) == strategy["num_beams"]


@pytest.mark.parametrize(
    ("texts", "chosen"),
    [
        (["door", "window , and"], 1),
        (["door .", "window ,"], 0),
        (["door and", "window"], 0),
        (["door, and", " window  then"], 1),  # in the authors' code an empty word passes for punctuation
        ([""], 0),
    ],
)
def test_the_beam_that_holds_the_last_word(texts: list[str], chosen: int) -> None:
    assert last_word(texts) == chosen


def test_what_no_last_word_holds(tokenizer: Tokenizer) -> None:
    bans = lambada_bans(tokenizer, joins_space=True)
    anywhere = {tokenizer.piece(token) for token in bans.anywhere}
    assert {"!", ",", "'", '"'} <= anywhere
    assert {"▁“", "’"} & anywhere
    assert not any(piece.strip("▁").isalnum() for piece in anywhere)
    beginnings = [tokenizer.decode(ids) for ids in bans.beginnings]
    assert {".", " .", "(", " ("} <= set(beginnings)
    assert all(bans.beginnings)


def alone(model: GLM, request: Write) -> list[int]:
    """The answer's ids, end and all, by the loop for one."""
    rules = conventions_of(model, TINY_NUMBERS)
    context = generation_context(
        request.text,
        TINY_SPECIAL,
        max_gen_length=request.decode.max_new_tokens,
        max_seq_length=64,
        use_task_mask=request.mask == "[gMASK]",
    )
    sampling = Sampling()
    if request.draw:
        options = request.decode
        sampling = Sampling(temperature=options.temperature, top_p=options.top_p, seed=seed_of(request))
    banned = rules.banned if request.mask == "[MASK]" else rules.banned + rules.banned_after_gmask
    limit = request.decode.max_new_tokens
    return list(answer(model, context, end=rules.end, max_new_tokens=limit, sampling=sampling, banned=banned))


@st.composite
def writes(draw: st.DrawFn) -> Write:
    mask = draw(st.sampled_from(["[MASK]", "[gMASK]"]))
    text = draw(st.lists(WORDS, max_size=20))
    if mask == "[MASK]" and draw(st.booleans()):
        text.insert(draw(st.integers(0, len(text))), TINY_SPECIAL.mask)
    return write(text, draw(st.integers(0, 3)), mask, top_p=0.9, seed=draw(st.integers(0, 2)))


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(requests=st.lists(writes(), min_size=1, max_size=6), batch_tokens=st.integers(1, 300))
def test_answers_side_by_side_are_those_alone(tiny: GLM, requests: list[Write], batch_tokens: int) -> None:
    end = conventions_of(tiny, TINY_NUMBERS).end
    for request, found in zip(
        requests, answers(Engine(tiny, TINY_NUMBERS, batch_tokens=batch_tokens), requests), strict=True
    ):
        ids = alone(tiny, request)
        ended = ids[-1] in end
        assert found == Answer(text=TINY_NUMBERS.decode(ids[: len(ids) - ended]).strip(), ended=ended)


def test_draws_differ_by_number_seed_and_text(tiny: GLM) -> None:
    requests = [
        write([9, 10, 11], draw, seed=seed, top_p=1.0, max_new_tokens=20) for draw in (1, 2, 3) for seed in (0, 1)
    ]
    found = [answer.text for answer in answers(Engine(tiny, TINY_NUMBERS), requests)]
    assert len(set(found)) == len(found)
    seeds = {seed_of(request) for request in [*requests, write([9, 10], 1), write([9, 10, 12], 1)]}
    assert len(seeds) == len(requests) + 2
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_a_stop_text_ends_an_answer(tiny: GLM, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = partial(write, [9, 10, 11], 1, max_new_tokens=30, temperature=2.0)
    (whole,) = answers(Engine(tiny, TINY_NUMBERS), [drawn()])
    words = whole.text.split()
    stop = next(word for n, word in enumerate(words) if n > 2 and len(word) == 2 and word not in words[:n])
    steps: list[int] = []
    read = Reader.read

    def counting(reader: Reader, tokens: Sequence[int]) -> None:
        steps.append(len(tokens))
        read(reader, tokens)

    monkeypatch.setattr(Reader, "read", counting)
    (found,) = answers(Engine(tiny, TINY_NUMBERS), [drawn(stop=["no such text", f" {stop}"])])
    assert found == Answer(text=" ".join(words[: words.index(stop)]), ended=True)
    assert steps == [1] * words.index(stop)  # and no further step was taken
    beams = write([9, 10, 11], max_new_tokens=30, beams=2, stop=[" "])
    assert answers(Engine(tiny, TINY_NUMBERS), [beams]) == [Answer(text="", ended=True)]


def test_a_limit_is_no_end(tiny: GLM) -> None:
    (found,) = answers(Engine(tiny, TINY_NUMBERS), [write([9, 10, 11], max_new_tokens=2)])
    assert not found.ended
    assert len(found.text.split()) == 2


@pytest.mark.parametrize("base", ["output", "total"])
def test_beams_are_those_of_the_search(tiny: GLM, base: str) -> None:
    requests = [write([9] * n, beams=3, length_penalty=0.7, length_penalty_base=base) for n in (3, 12)]
    rules = conventions_of(tiny, TINY_NUMBERS)
    for request, found in zip(requests, answers(Engine(tiny, TINY_NUMBERS), requests), strict=True):
        context = generation_context(
            request.text, TINY_SPECIAL, max_gen_length=8, max_seq_length=64, use_task_mask=True
        )
        total = base == "total"
        best = beam_search(
            tiny,
            context,
            end=rules.end,
            max_new_tokens=8,
            options=BeamSearch(num_beams=3, length_penalty=0.7, compat="glm130b" if total else None),
            banned=rules.banned + rules.banned_after_gmask,
            padding=32 - len(context.tokens) if total else 0,
        )[0]
        tokens = best.tokens[:-1] if best.ended else best.tokens
        assert found == Answer(text=TINY_NUMBERS.decode(tokens).strip(), ended=best.ended)


def test_our_models_write_no_end_of_piece_after_gmask(tiny: GLM) -> None:
    """Nor any special token but those that end an answer."""
    texts = [[9, 10, 11], [20] * 5, [30, 31]]
    requests = [
        write(text, draw, top_p=1.0, temperature=3.0, max_new_tokens=25) for text in texts for draw in (1, 2, 3, 4)
    ]
    written = [alone(tiny, request) for request in requests]
    assert not {TINY_SPECIAL.eop, TINY_SPECIAL.mask, TINY_SPECIAL.sop} & {token for ids in written for token in ids}
    found = answers(Engine(tiny, TINY_NUMBERS), requests)
    assert [answer.text.split() for answer in found] == [
        [str(token) for token in ids if token not in TINY_SPECIAL.names()] for ids in written
    ]
