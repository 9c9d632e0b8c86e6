"""Texts to ids: blanks, spaces, and what is cut."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_ice import MODEL
from support import TINY_SPECIAL
from toy import TINY_NUMBERS

from glm130b.errors import DataError
from glm130b.evaluation.encode import Encoder
from glm130b.evaluation.task import Decode
from glm130b.inference import Conventions
from glm130b.tokenization import IceTokenizer, Tokenizer

OFFICIAL = Conventions(end=frozenset({2}))
OWN = Conventions(end=frozenset({2}), joins_space=True)


@pytest.mark.parametrize(
    ("text", "before", "after", "space"),
    [
        ("The sky is [MASK] today.", "The sky is", " today.", " "),
        ("The sky is [MASK]", "The sky is", "", " "),
        ("The sky is", "The sky is", None, " "),
        ("The sky is ", "The sky is", None, " "),
        ("Answer:\n", "Answer:\n", None, ""),
        ("(", "(", None, ""),
        ("", "", None, ""),
        ("今天天气很", "今天天气很", None, ""),
        ("今天天气[MASK]。", "今天天气", "。", ""),
        ("今天天气很 [MASK]。", "今天天气很", "。", " "),
        ("[MASK] is blue.", "", " is blue.", ""),
        ("un[MASK]able", "un", "able", ""),
    ],
)
def test_a_space_before_the_blank_belongs_to_the_option(
    tokenizer: Tokenizer, text: str, before: str, after: str | None, space: str
) -> None:
    asked = Encoder(tokenizer, OWN, 512).choose(text, ["blue", " grey"], mask="[MASK]")
    ids = tokenizer.encode(before)
    if after is not None:
        ids += [tokenizer.special.mask, *tokenizer.encode(after)]
    assert asked.text == tuple(ids)
    second = " grey" if space else " grey".removeprefix(space)
    assert asked.options == (tuple(tokenizer.encode(f"{space}blue")), tuple(tokenizer.encode(second)))
    assert asked.cut == 0
    written = Encoder(tokenizer, OWN, 512).write(text, mask="[MASK]", attention="bidirectional", decode=Decode())
    assert written.text == asked.text


@pytest.mark.parametrize("text", ["The cat sat on the [MASK]: was it?", "The cat sat", "你好[MASK]", "The dog [MASK]"])
def test_official_parts_stand_alone(text: str) -> None:
    """With the space that icetk puts before each."""
    tokenizer = IceTokenizer(MODEL)
    asked = Encoder(tokenizer, OFFICIAL, 512).choose(text, ["mat", "你好"], mask="[MASK]")
    assert asked.text == tuple(tokenizer.encode_with_blanks(text))
    assert asked.options == (tuple(tokenizer.encode("mat")), tuple(tokenizer.encode("你好")))


@pytest.mark.parametrize("option", ["", " ", "\n"])
def test_options_without_tokens_are_named(tokenizer: Tokenizer, option: str) -> None:
    for one, rules in ((tokenizer, OWN), (IceTokenizer(MODEL), OFFICIAL)):
        with pytest.raises(DataError, match="has no tokens") as caught:
            Encoder(one, rules, 512).choose("The sky is", ["blue", option], mask="[MASK]")
        assert repr(option) in caught.value.problem
    with pytest.raises(DataError, match="no options"):
        Encoder(tokenizer, OWN, 512).choose("The sky is", [], mask="[MASK]")


@pytest.mark.parametrize(("text", "mask"), [("[MASK] and [MASK]", "[MASK]"), ("The [MASK]", "[gMASK]")])
def test_blanks_that_may_not_be_there(tokenizer: Tokenizer, text: str, mask: str) -> None:
    encoder = Encoder(tokenizer, OWN, 512)
    with pytest.raises(DataError, match="MASK"):
        encoder.choose(text, ["a"], mask=mask)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="MASK"):
        encoder.write(text, mask=mask, attention="bidirectional", decode=Decode())  # type: ignore[arg-type]


def words(count: int, blank: int | None = None) -> str:
    return " ".join("[MASK]" if n == blank else str(3 + n % 50) for n in range(count))


@settings(max_examples=80, deadline=None)
@given(
    count=st.integers(0, 90),
    blank=st.none() | st.integers(0, 89),
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=4),
    one_way=st.booleans(),
    refuse=st.booleans(),
)
def test_what_is_too_long_is_cut_refused_or_whole(
    count: int, blank: int | None, lengths: list[int], one_way: bool, refuse: bool
) -> None:
    """Written out: the rooms there are, and what each leaves."""
    special = TINY_SPECIAL
    blank = None if one_way or blank is None or blank >= count else blank
    ids = [special.mask if n == blank else 3 + n % 50 for n in range(count)]
    together = 1 if set(lengths) == {1} else sum(lengths)
    needs = [max(lengths)] if one_way or refuse else [together, max(lengths)]
    expected = None
    for need in needs:
        room = 64 - 2 - need
        left = ids[-room:] if count > room else ids
        if expected is None and (
            count <= room or (room > 0 and not refuse and (blank is None or special.mask in left))
        ):
            expected = left
    options = [words(length) for length in lengths]
    encoder = Encoder(TINY_NUMBERS, OFFICIAL, 64)
    over_length = "refuse" if refuse else "cut_left"
    mask, attention = ("[gMASK]", "unidirectional") if one_way else ("[MASK]", "bidirectional")

    def ask() -> tuple[list[int], int]:
        asked = encoder.choose(
            words(count, blank),
            options,
            mask=mask,
            attention=attention,
            over_length=over_length,  # type: ignore[arg-type]
        )
        return [*asked.text], asked.cut

    if expected is None:
        with pytest.raises(DataError, match=r"too long|room for|blank is not among|has room"):
            ask()
    else:
        assert ask() == (expected, count - len(expected))


def test_texts_to_write_after_leave_room_for_the_answer() -> None:
    encoder = Encoder(TINY_NUMBERS, OFFICIAL, 64)
    decode = Decode(max_new_tokens=20)
    asked = encoder.write(words(50), mask="[gMASK]", attention="unidirectional", decode=decode, draw=3)
    assert (len(asked.text), asked.cut, asked.draw) == (42, 8, 3)
    assert asked.text == tuple(TINY_NUMBERS.encode(words(50))[8:])
    with pytest.raises(DataError, match="has 50 tokens, and the model has room for 42"):
        encoder.write(words(50), mask="[MASK]", attention="bidirectional", decode=decode, over_length="refuse")
    with pytest.raises(DataError, match="its blank is not among them"):
        encoder.write(words(50, 7), mask="[MASK]", attention="bidirectional", decode=decode)
    with pytest.raises(DataError, match="room for 0"):
        encoder.write("9", mask="[MASK]", attention="bidirectional", decode=Decode(max_new_tokens=62))


def test_documents_may_speak_of_blanks(tokenizer: Tokenizer) -> None:
    encoder = Encoder(tokenizer, OWN, 512)
    (window,) = encoder.windows("About [MASK] and [gMASK].", window=512, scored=256, mask="[gMASK]")
    assert tokenizer.decode(window.tokens) == "About [MASK] and [gMASK]."
    assert not {tokenizer.special.mask, tokenizer.special.gmask} & set(window.tokens)


def test_each_token_masked(tokenizer: Tokenizer) -> None:
    encoder = Encoder(tokenizer, OWN, 512)
    ids = tuple(tokenizer.encode("She was a doctor."))
    asked = encoder.each_masked("She was a doctor.", mask="[MASK]")
    assert len(asked) == len(ids)
    for place, request in enumerate(asked):
        assert request.text == (*ids[:place], tokenizer.special.mask, *ids[place + 1 :])
        assert request.options == ((ids[place],),)
    with pytest.raises(DataError, match="no tokens"):
        encoder.each_masked("", mask="[MASK]")
    with pytest.raises(DataError, match="has 62 tokens, and the model has room for 61"):
        Encoder(TINY_NUMBERS, OFFICIAL, 64).each_masked(words(62), mask="[MASK]")
    assert len(Encoder(TINY_NUMBERS, OFFICIAL, 64).each_masked(words(61), mask="[MASK]")) == 61
