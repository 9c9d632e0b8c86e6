"""Filling and continuing texts with a small random model."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sentencepiece import SentencePieceProcessor
from small_ice import MODEL
from support import TINY
from support import TINY_SPECIAL as SPECIAL
from typer.testing import CliRunner

from glm130b.cli.main import app
from glm130b.errors import ConfigError, DataError
from glm130b.inference import (
    BeamSearch,
    Context,
    Conventions,
    Sampling,
    answer,
    beam_search,
    conventions_of,
    fill,
    fill_blanks,
    generate,
    make_context,
)
from glm130b.interop import write_folder
from glm130b.model import GLM, build_model
from glm130b.tokenization import IceTokenizer, Tokenizer

FILL = import_module("glm130b.inference.fill")  # the room exports a function of this name


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
        text = generate(model, tokenizer, "Once", max_new_tokens=30, decoding=Sampling(temperature=50.0, seed=seed))
        assert not any(name in text for name in names)
    assert generate(model, tokenizer, "Once", decoding=sampling) == generate(
        model, tokenizer, "Once", decoding=sampling
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


@given(st.lists(st.sampled_from([5, 6, 56, 57, 58]), max_size=9), st.data())
@settings(max_examples=50, deadline=None)
def test_each_blank_of_the_text_is_filled_once(ids: list[int], data: st.DataObject) -> None:
    """Answers, which may hold blanks themselves, against cutting the text at its blanks."""
    asked: list[int] = []
    answers = data.draw(st.lists(st.lists(st.sampled_from([7, 8, 56, 57]), max_size=3), min_size=10, max_size=10))

    def scripted(model: Any, context: Context, **options: Any) -> Iterator[int]:
        asked.append(context.tokens[context.blank])
        assert options["banned"] == ((9, 10) if asked[-1] == 57 else (9,))
        return iter([*answers[len(asked) - 1], 61])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FILL, "answer", scripted)
        conventions = Conventions(end=frozenset({61}), banned=(9,), banned_after_gmask=(10,))
        filled, found = fill_blanks(None, ids, SPECIAL, conventions)  # type: ignore[arg-type]
    order = sorted((token != 56, token == 57, place) for place, token in enumerate(ids) if token in (56, 57, 58))
    places = [place for *_, place in order] or [len(ids)]
    parts = [[token] for token in [*ids, 57][: max(len(ids), places[0] + 1)]]
    assert asked == [parts[place][0] for place in places]
    for place, new in zip(places, answers, strict=False):
        parts[place] = new
    assert filled == [token for part in parts for token in part]
    assert [tokens for _, tokens, _ in found] == answers[: len(places)]


def test_beams_fill_with_their_best_hypothesis(model: GLM, tokenizer: Tokenizer) -> None:
    options = BeamSearch(3, no_repeat_ngram=2)
    pieces: list[str] = []
    text, (first,) = fill(model, tokenizer, "An [MASK].", max_new_tokens=5, decoding=options, on_text=pieces.append)
    conventions = conventions_of(model, tokenizer)
    context = make_context(tokenizer.encode_with_blanks("An[MASK]."), tokenizer.special)
    found = beam_search(
        model, context, end=conventions.end, max_new_tokens=5, options=options, banned=conventions.banned
    )
    assert first.text == tokenizer.decode([token for token in found[0].tokens if token not in conventions.end])
    assert first.ended == found[0].ended
    assert text == f"An{first.text}."
    assert "".join(pieces) == first.text


def official_model(vocab_size: int = 150528) -> GLM:
    """One that only ever writes pieces of the small stand-in for the official tokenizer."""
    config = TINY.model_copy(update={"hidden_size": 8, "ffn_size": 12, "vocab_size": vocab_size, "num_layers": 1})
    network = build_model(config.model_copy(update={"conventions": "official"}), seed=4)
    words = network.word_embeddings.weight.data
    pieces = slice(20005, 20000 + len(SentencePieceProcessor(model_proto=MODEL)))
    known = torch.randn(words[pieces].shape, generator=torch.Generator().manual_seed(5)) + 1
    words[:] = -1
    words[pieces] = known
    network.final_layernorm.bias.data[:] = 4
    return network.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def official() -> tuple[GLM, Tokenizer]:
    return official_model(), IceTokenizer(MODEL)


def test_an_official_model_is_asked_as_the_authors_do(official: tuple[GLM, Tokenizer]) -> None:
    network, tokenizer = official
    conventions = conventions_of(network, tokenizer)
    assert conventions.end == {150005, 20002}
    assert (conventions.append_eos, conventions.joins_space, conventions.beams) == (True, False, "glm130b")
    assert (conventions.banned, conventions.banned_after_gmask) == (tuple(range(150008, 150528)), ())
    context = make_context(tokenizer.encode_with_blanks("Hello [MASK] world"), tokenizer.special, append_eos=True)
    expected = list(answer(network, context, end=conventions.end, max_new_tokens=3, banned=conventions.banned))
    _, (first,) = fill(network, tokenizer, "Hello [MASK] world", max_new_tokens=3)
    assert first.text.split() == tokenizer.decode(expected).split()


def test_how_a_model_is_asked_follows_from_its_training_not_its_tokenizer(official: tuple[GLM, Tokenizer]) -> None:
    network = build_model(official[0].config.model_copy(update={"conventions": "own"}), seed=0)
    assert not conventions_of(network, official[1]).append_eos


@pytest.mark.parametrize(
    ("text", "before", "after"),
    [
        ("the dog[MASK], and\nthe cat！", "the dog", ", and\nthe cat！"),
        ("the dog [MASK], and", "the dog ", ", and"),
        ("今天[MASK]很好。", "今天", "很好。"),
        ("[MASK] and so on", "", " and so on"),
    ],
)
def test_an_official_tokenizer_does_not_change_the_text_around_an_answer(
    official: tuple[GLM, Tokenizer], text: str, before: str, after: str
) -> None:
    """Answers are given a space of their own only where there is none and a word needs one."""
    pieces: list[str] = []
    filled, (first,) = fill(*official, text, max_new_tokens=4, on_text=pieces.append)
    assert filled == before + first.text + after
    assert "".join(pieces) == first.text
    starts_with_space = before == "the dog" and first.text.startswith(" ")
    assert starts_with_space or not first.text.startswith(" ")


def test_a_continuation_keeps_the_space_between_words(
    official: tuple[GLM, Tokenizer], monkeypatch: pytest.MonkeyPatch
) -> None:
    network, tokenizer = official
    cat = tokenizer.encode("cat")
    monkeypatch.setattr(FILL, "answer", lambda *_, **__: iter([*cat, *cat, 150005]))
    assert generate(network, tokenizer, "The dog") == " cat cat"
    assert generate(network, tokenizer, "The dog ") == "cat cat"
    assert fill(network, tokenizer, "今天[MASK]很好")[0] == "今天cat cat很好"
    assert fill(network, tokenizer, "a [MASK] b [MASK]")[0] == "a cat cat b cat cat"
    for text, filled in (
        ("The [MASK][MASK] sat", "The cat cat cat cat sat"),
        ('He said "[MASK]"', 'He said "cat cat"'),
        ('He said "yes"[MASK]', 'He said "yes" cat cat'),
        ("([MASK]) and/[MASK]", "(cat cat) and/cat cat"),
        ("“[MASK]”", "“cat cat”"),
    ):
        assert fill(network, tokenizer, text)[0] == filled


def test_a_continuation_of_our_own_model_keeps_the_space_that_is_there(
    model: GLM, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FILL, "answer", lambda *_, **__: iter(tokenizer.encode(" words and")))
    assert generate(model, tokenizer, "A few") == " words and"
    assert generate(model, tokenizer, "A few ") == "words and"


def test_each_answer_is_spoken_by_itself(model: GLM, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a character at the end of one answer does not join the beginning of the next; ends are not spoken."""
    byte_ids = {tokenizer.piece(token): token for token in range(300)}
    halves = iter([[byte_ids["<0xE4>"], byte_ids["<0xB8>"]], [byte_ids["<0xAD>"]]])
    monkeypatch.setattr(FILL, "answer", lambda *_, **__: iter([*next(halves), tokenizer.special.eop]))
    pieces: list[str] = []
    filled, answers = fill(model, tokenizer, "a[MASK]b[MASK]c", on_text=pieces.append)
    assert filled == "a\ufffdb\ufffdc"
    assert [found.text for found in answers] == pieces == ["\ufffd", "\ufffd"]
    assert all(found.ended for found in answers)


def test_answers_found_out_of_order_go_to_their_places(
    model: GLM, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = iter(["one", "two", "three"])
    monkeypatch.setattr(FILL, "answer", lambda *_, **__: iter(tokenizer.encode(next(words))))
    filled, answers = fill(model, tokenizer, "a[gMASK] b[MASK] c[sMASK] d")
    assert filled == "athree bone ctwo d"
    assert [(found.kind, found.text) for found in answers] == [
        ("[MASK]", "one"),
        ("[sMASK]", "two"),
        ("[gMASK]", "three"),
    ]


def test_our_models_end_no_gmask_answer_within_a_document(model: GLM, tokenizer: Tokenizer) -> None:
    special = tokenizer.special
    conventions = conventions_of(model, tokenizer)
    assert conventions.end == {special.eop, special.eos, special.eod}
    assert conventions.banned_after_gmask == (special.eop,)
    assert set(conventions.banned) == set(special.names()) - conventions.end | set(range(tokenizer.vocab_size, 16512))


@pytest.mark.slow
def test_beams_on_the_command_line(model: GLM, tokenizer: Tokenizer, tmp_path: Path) -> None:
    write_folder(tmp_path / "model", model.state_dict(), model.config, tokenizer)

    def run(command: str, text: str, *options: str) -> Any:
        return CliRunner().invoke(
            app,
            [command, text, "--model", str(tmp_path / "model"), "--device", "cpu", "--max-new-tokens", "4", *options],
        )

    beams = ("--beams", "3", "--length-penalty", "0", "--no-repeat-ngram", "2", "--min-tokens", "3")
    decoding = BeamSearch(3, 0.0, 2, 3)
    assert (
        run("fill", "An [MASK].", *beams).stdout
        == fill(model, tokenizer, "An [MASK].", max_new_tokens=4, decoding=decoding)[0] + "\n"
    )
    assert (
        run("generate", "An", *beams).stdout
        == "An" + generate(model, tokenizer, "An", max_new_tokens=4, decoding=decoding) + "\n"
    )
    official = generate(model, tokenizer, "An", max_new_tokens=4, decoding=BeamSearch(3, 0.0, 2, 3, "glm130b"))
    assert run("generate", "An", *beams, "--beam-rules", "official").stdout == "An" + official + "\n"
    assert run("generate", "An", *beams, "--beam-rules", "corrected").stdout == run("generate", "An", *beams).stdout
    for options, words in (
        (("--beams", "2", "--temperature", "1"), "draws nothing"),
        (("--beams", "2", "--top-p", "0.5"), "draws nothing"),
        (("--min-tokens", "2"), "are for beam search"),
        (("--beams", "2", "--length-penalty", "99"), "Cannot search"),
        (("--beams", "400000"), "There are 1 to 1000 beams"),
        (("--beams", "2", "--beam-rules", "mine"), "--beam-rules mine is not known"),
        (("--beam-rules", "official"), "--beam-rules is for beam search"),
    ):
        for command in ("fill", "generate"):
            error = run(command, "An [MASK].", *options).exception
            assert isinstance(error, ConfigError)
            assert words in str(error)


@pytest.mark.slow
def test_guessing_on_the_command_line(model: GLM, tokenizer: Tokenizer, tmp_path: Path) -> None:
    """The text is the same, and how many guesses were right is said beside it."""
    write_folder(tmp_path / "model", model.state_dict(), model.config, tokenizer)
    options = ["--model", str(tmp_path / "model"), "--device", "cpu", "--max-new-tokens", "20"]
    for command, text in (("fill", "An [MASK] and [MASK]."), ("generate", "An")):
        plain = CliRunner().invoke(app, [command, text, *options])
        found = CliRunner().invoke(app, [command, text, *options, "--speculate", "4"])
        assert found.stdout == plain.stdout
        right, guessed = re.search(r"^(\d+) of (\d+) guessed tokens were right$", found.stderr, re.M).groups()  # type: ignore[union-attr]
        assert 0 <= int(right) <= int(guessed)
        assert "guessed" not in plain.stderr
        error = CliRunner().invoke(app, [command, text, *options, "--speculate", "4", "--beams", "2"]).exception
        assert isinstance(error, ConfigError)
        assert "does not guess ahead" in str(error)
