"""The icetk tokenizer, over a small model that stands for the official ``ice_text.model``.

The stand-in is of the same kind (unigram, NFKC, a space put before the text, the same first six pieces),
so the arithmetic of ids, the special tokens, whitespace, bytes and decoding are checked in full. The ids of
words, and where a piece of the real vocabulary lies, cannot be checked without the real file; the examples
of ``tokenizer_facts.json`` that name them are left out.
"""

from __future__ import annotations

import functools
import json
import re
import unicodedata

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from sentencepiece import SentencePieceProcessor
from small_ice import LINES, MODEL, small_ice_model
from support import FIXTURES

from glm130b.errors import DataError
from glm130b.tokenization import IceTokenizer, SpecialTokens

FACTS = json.loads((FIXTURES / "tokenizer_facts.json").read_text())
FIRST = IceTokenizer(MODEL)
SECOND = IceTokenizer(MODEL, generation=2)
BARE = IceTokenizer(MODEL, generation=2, dummy_prefix=False)
ALL = [FIRST, IceTokenizer(MODEL, newlines="piece"), SECOND, IceTokenizer(MODEL, newlines="space", generation=2), BARE]
SPACED_MODEL = small_ice_model(remove_extra_whitespaces=False)
PLAIN = SentencePieceProcessor(model_proto=MODEL)
PIECE_IDS = range(20000, 20000 + len(PLAIN))
IDS = [*range(3), 19999, *PIECE_IDS, *range(150000, 150344)]

NAMES = ["[MASK]", "[gMASK]", "[sMASK]", "<n>", "</s>", "<unk>", "<|tab|>", "<|blank_2|>", "<|blank_80|>", "<0x41>"]
TEXT = st.lists(
    st.text(max_size=5)
    | st.sampled_from([*NAMES, *LINES, *"▁ \n\t，！Ａé"])
    | st.integers(1, 170).map(lambda n: " " * n),
    max_size=8,
).map("".join)
STABLE = st.lists(
    st.text(st.characters(exclude_categories=("Cc", "Cf", "Cn", "Cs", "Z"), exclude_characters="▁\ufffd"), max_size=6)
    | st.sampled_from(["\n", "\t", *LINES[:2]])
    | st.integers(1, 170).map(lambda n: " " * n),
    max_size=8,
).map("".join)


def test_ids_are_the_documented_ones() -> None:
    ids = FACTS["special_ids"]
    order = ("[MASK]", "[gMASK]", "[sMASK]", "eod", "sop", "eop", "ENC", "dBLOCK", "eos")
    for tokenizer in ALL:
        assert tokenizer.special == SpecialTokens(*(ids[name] for name in order))
    assert FIRST.vocab_size == 150008 <= FACTS["padded_vocab_size"]
    first, last = FACTS["text_piece_ids"]
    assert FIRST.piece(first) == PLAIN.id_to_piece(0)
    assert last - first + 1 == FACTS["text_piece_count"]
    for piece in ("<unk>", "<s>", "</s>", "<pad>", "<n>", "▁"):
        assert FIRST.piece(FACTS["known_piece_ids"][piece]) == SECOND.piece(FACTS["known_piece_ids"][piece]) == piece


def test_ids_of_later_releases_are_the_documented_ones() -> None:
    newer = {name: token_id for name, token_id in FACTS["newer_tokenizer_ids"].items() if name != "note"}
    assert {name: SECOND.piece(token_id) for name, token_id in newer.items()} == {name: name for name in newer}
    assert SECOND.vocab_size == newer["<0xFF>"] + 1
    assert SECOND.encode("\t  \t" + " " * 80)[1:] == [150008, 150009, 150008, 150087]
    assert SECOND.encode("Ω")[-2:] == [150088 + byte for byte in "Ω".encode()]


@given(TEXT)
def test_generation_1_is_sentencepiece_shifted(text: str) -> None:
    assert FIRST.encode(text) == [20000 + i for i in PLAIN.encode(text.replace("\n", " "))]
    assert ALL[1].encode(text) == [20000 + i for i in PLAIN.encode(text.replace("\n", "<n>"))]


@functools.cache
def later_release() -> SentencePieceProcessor:
    """The model of later releases, made with protobuf's own classes."""
    from sentencepiece.sentencepiece_model_pb2 import ModelProto

    proto = ModelProto.FromString(MODEL)
    proto.trainer_spec.byte_fallback = True
    special = ["[MASK]", "[gMASK]", "[sMASK]", "<eod>", "<sop>", "<eop>", "<ENC>", "<dBLOCK>"]
    blanks = [f"<|blank_{n}|>" for n in range(2, 81)]
    kind = ModelProto.SentencePiece
    for piece in special:
        proto.pieces.add(piece=piece, score=0.0, type=kind.CONTROL)
    for piece in ["<|tab|>", *blanks]:
        proto.pieces.add(piece=piece, score=0.0, type=kind.USER_DEFINED)
    for byte in range(256):
        proto.pieces.add(piece=f"<0x{byte:02X}>", score=0.0, type=kind.BYTE)
    return SentencePieceProcessor(model_proto=proto.SerializeToString())


def test_appended_bytes_are_what_protobuf_writes() -> None:
    from sentencepiece import sentencepiece_model_pb2 as protobuf

    ours, theirs = (t.serialized_model_proto() for t in (SECOND._processor, later_release()))
    assert protobuf.ModelProto.FromString(ours) == protobuf.ModelProto.FromString(theirs)


@given(TEXT)
def test_generation_2_is_the_extended_model(text: str) -> None:
    replaced = text.replace("\n", "<n>").replace("\t", "<|tab|>")
    for n in range(80, 1, -1):
        replaced = replaced.replace(" " * n, f"<|blank_{n}|>")
    for tokenizer, prefix, dropped in ((SECOND, "", 0), (BARE, "<n>", 2)):
        indices = later_release().encode(prefix + replaced)[dropped:]
        num_pieces = len(PLAIN)
        assert tokenizer.encode(text) == [20000 + i if i < num_pieces else 150000 + i - num_pieces for i in indices]


@given(STABLE)
@example("\n\n a \t  b" + " " * 81 + "c  ")
@example(" " * 81 + "a" + " " * 80)
def test_generation_2_gives_stable_text_back(text: str) -> None:
    assume(unicodedata.normalize("NFKC", text) == text and not re.search("<n>|<[|]", text))
    leading, trailing = len(text) - len(text.lstrip(" ")), len(text) - len(text.rstrip(" "))
    assume(leading != 1 and trailing % 80 != 1)
    for tokenizer in (SECOND, BARE):
        assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.parametrize(("text", "back"), [(" a", "a"), ("a ", "a"), ("a" + " " * 81, "a" + " " * 80), ("▁", "")])
def test_generation_2_loses_what_is_documented(text: str, back: str) -> None:
    assert SECOND.decode(SECOND.encode(text)) == BARE.decode(BARE.encode(text)) == back


@pytest.mark.parametrize("tokenizer", ALL)
def test_full_width_is_normalised(tokenizer: IceTokenizer) -> None:
    assert tokenizer.encode("你好世界！ＡＢ，") == tokenizer.encode("你好世界!AB,")
    assert tokenizer.decode(tokenizer.encode("你好，世界！测试。")) == "你好,世界!测试。"


def test_newlines_runs_of_spaces_and_tabs() -> None:
    text = "good  night\tthe\n\n   dog"
    assert [t.decode(t.encode(text)) for t in ALL] == [
        "good night the dog",
        "good night the\n\n dog",
        text,
        "good  night\tthe    dog",
        text,
    ]
    assert FIRST.decode(FIRST.encode("the<n>dog")) == SECOND.decode(SECOND.encode("the<n>dog")) == "the\ndog"
    assert SECOND.decode(SECOND.encode("the<|tab|><|blank_3|>dog")) == "the\t   dog"
    assert FIRST.encode("<|tab|>")[0] == 20005


def test_dummy_space_and_its_absence() -> None:
    assert FIRST.encode("你好")[0] == SECOND.encode("你好")[0] == 20005
    assert BARE.encode("你好") == SECOND.encode("你好")[1:]
    assert not BARE.piece(BARE.encode("dog")[0]).startswith("▁")
    assert BARE.encode("") == FIRST.encode("") == FIRST.encode("\n ") == []


@given(TEXT)
def test_special_tokens_never_come_from_text(text: str) -> None:
    for tokenizer in ALL:
        ids = tokenizer.encode(text)
        assert not set(ids) & set(tokenizer.special.names())
        assert min(ids, default=20000) >= 20000


def test_end_of_sentence_typed_as_text_is_ordinary() -> None:
    assert 20002 not in FIRST.encode("</s>")
    assert SECOND.decode(SECOND.encode("a</s>b")) == "a</s>b"


def test_blanks_split_the_text() -> None:
    text = "The dog [MASK] the mat。[gMASK][sMASK]"
    for tokenizer in ALL:
        encode = tokenizer.encode
        assert tokenizer.encode_with_blanks(text) == [
            *encode("The dog "), 150000, *encode(" the mat。"), 150001, 150002,
        ]  # fmt: skip
    assert FIRST.decode(FIRST.encode_with_blanks(text)) == "The dog[[MASK]]the mat。[[gMASK]][[sMASK]]"


def test_batch_gives_the_same_ids() -> None:
    for tokenizer in ALL:
        assert tokenizer.encode_batch(LINES) == [tokenizer.encode(line) for line in LINES]


def test_decoding_prints_names_in_brackets() -> None:
    ids = [*FIRST.encode("good"), *range(150000, 150008), *FIRST.encode("dog"), 20002, 0, 7, *FIRST.encode("。")]
    names = "[[MASK]][[gMASK]][[sMASK]][eod][sop][eop][ENC][dBLOCK]"
    for tokenizer in ALL:
        assert tokenizer.decode(ids) == f"good{names}dog[pad][image 7]。"
        assert tokenizer.decode(ids, skip_special=True) == "gooddog。"


@given(st.lists(st.sampled_from([i for i in IDS if i < 150088]) | st.sampled_from([20005, 20002, 150004])))
def test_decoding_is_sentencepiece_between_special_tokens(ids: list[int]) -> None:
    def slow(tokenizer: IceTokenizer, model: SentencePieceProcessor) -> str:
        printed, stretch = "", []
        for token in [*ids, 150003]:
            if 20000 <= token < 150000 or token >= 150008:
                stretch.append(token - 20000 if token < 150000 else token - 150000 + len(PLAIN))
                continue
            printed += model.decode(stretch).replace("<n>", "\n").replace("<|tab|>", "\t")
            for n in range(2, 81):
                printed = printed.replace(f"<|blank_{n}|>", " " * n)
            name = tokenizer.special.names().get(token, f"image {token}" if token else "pad")
            printed, stretch = printed + f"[{name.strip('<>')}]", []
        return printed.removesuffix("[eod]")

    assert SECOND.decode(ids) == slow(SECOND, later_release())
    ids = [token for token in ids if token < 150008]
    assert FIRST.decode(ids) == slow(FIRST, PLAIN)
    spaced = SentencePieceProcessor(model_proto=SPACED_MODEL)
    ids = [token for token in ids if token not in PIECE_IDS or token - 20000 < len(spaced)]
    assert IceTokenizer(SPACED_MODEL).decode(ids) == slow(FIRST, spaced)


@given(st.lists(st.sampled_from(IDS) | st.integers(150088, 150343) | st.sampled_from([20005, 150087]), max_size=40))
def test_stream_decoder_equals_decode(ids: list[int]) -> None:
    for tokenizer in (FIRST, SECOND):
        known = [token for token in ids if token < tokenizer.vocab_size]
        for skip_special in (False, True):
            stream = tokenizer.stream_decoder(skip_special=skip_special)
            for _ in range(2):  # it starts afresh after finish
                text = "".join(stream.push(token) for token in known) + stream.finish()
                assert text == tokenizer.decode(known, skip_special=skip_special)


@given(st.text(max_size=8))
def test_stream_decoder_holds_back_half_a_character(text: str) -> None:
    stream = SECOND.stream_decoder()
    printed = [stream.push(150088 + byte) for byte in text.encode()]
    assert "".join(printed) == text
    assert [part for part in printed if part] == list(text)
    assert stream.finish() == ""


@pytest.mark.parametrize("tokenizer", [FIRST, SECOND])
def test_ids_that_do_not_exist_are_refused(tokenizer: IceTokenizer) -> None:
    for token_id in (-1, PIECE_IDS[-1] + 1, 149999, tokenizer.vocab_size):
        for use in (tokenizer.piece, tokenizer.stream_decoder().push, lambda i: tokenizer.decode([20005, i])):
            with pytest.raises(DataError, match=f"id {token_id} is not in the vocabulary"):
                use(token_id)


def test_pieces_print_as_names() -> None:
    printed = [SECOND.piece(i) for i in (0, 7, 150000, 150004, 20002, 20005, 150008, 150098)]
    assert printed == ["[pad]", "[image 7]", "[MASK]", "<sop>", "</s>", "▁", "<|tab|>", "<0x0A>"]


@pytest.mark.parametrize("tokenizer", ALL)
def test_lone_surrogate_is_refused(tokenizer: IceTokenizer) -> None:
    with pytest.raises(DataError, match="surrogate"):
        tokenizer.encode("a\ud800b")
