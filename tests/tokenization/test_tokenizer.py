import io
import json
import pickle
import subprocess
import sys

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from glm130b.cli.tokenizer import app
from glm130b.errors import DataError
from glm130b.tokenization import ExactTokenizer, SpecialTokens, Tokenizer

TOKENIZER = Tokenizer.load()
SPECIAL_IDS = set(TOKENIZER.special.names())
PIECES = [
    *" \n\t\r▁[]，。　①ﬁ1a中\0\u2028\ufeff\u0301\U0001f600",
    *("[MASK]", "[gMASK]", "[sMASK]", "</s>", "<unk>", "<0x0A>", "<sop>", "  ", "\n\n", "the ", "中国"),
]
ANY_TEXT = st.text()
TRICKY_TEXT = st.lists(st.sampled_from(PIECES), max_size=40).map("".join)
ANY_IDS = st.lists(st.integers(0, TOKENIZER.vocab_size - 1), max_size=60)
BYTE_IDS = [i for i in range(TOKENIZER.vocab_size) if TOKENIZER.piece(i).startswith("<0x")]
AWKWARD_IDS = ANY_IDS | st.lists(st.sampled_from([*BYTE_IDS, *SPECIAL_IDS]), max_size=20)


@given(ANY_TEXT | TRICKY_TEXT)
@example("\r\n  a\t\tb  \n\n\n▁▁ x\u2581\u2028\ufeff\0e\u0301👩‍👩‍👧，ＡＢＣ ")
def test_decode_undoes_encode(text):
    ids = TOKENIZER.encode(text)
    assert TOKENIZER.decode(ids) == text
    assert TOKENIZER.decode(ids, skip_special=True) == text
    assert not SPECIAL_IDS & set(ids)


@pytest.mark.slow
def test_every_character_survives():
    characters = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    text = "".join(characters)
    assert TOKENIZER.decode(TOKENIZER.encode(text)) == text
    assert all(TOKENIZER.decode(TOKENIZER.encode(c)) == c for c in characters[:0x3000])


def test_long_text_without_spaces_survives():
    text = "天地玄黄，宇宙洪荒。abc" * 20_000
    assert TOKENIZER.decode(TOKENIZER.encode(text)) == text


@given(TRICKY_TEXT)
def test_cutting_at_newlines_changes_no_id(text):
    text = text.replace("▁", "")
    assert TOKENIZER.encode(text) == TOKENIZER._processor.EncodeAsIds(text)


@given(st.lists(ANY_TEXT | TRICKY_TEXT, max_size=5))
def test_batch_gives_the_same_ids(texts):
    assert TOKENIZER.encode_batch(texts) == [TOKENIZER.encode(text) for text in texts]


@given(st.lists(TRICKY_TEXT | st.sampled_from(["[MASK]", "[gMASK]", "[sMASK]"]), max_size=12))
def test_blanks_become_special_tokens_and_print_as_typed(parts):
    text = "".join(parts)
    ids = TOKENIZER.encode_with_blanks(text)
    assert TOKENIZER.decode(ids) == text
    assert ids.count(TOKENIZER.special.mask) == text.count("[MASK]")
    assert ids.count(TOKENIZER.special.gmask) == text.count("[gMASK]")
    assert set(ids) & SPECIAL_IDS <= set(TOKENIZER.special.names()) - {TOKENIZER.special.eos}


def test_text_beside_a_blank_is_encoded_by_itself():
    ids = TOKENIZER.encode_with_blanks("Ng is a [MASK] at [gMASK]")
    special = TOKENIZER.special
    encode = TOKENIZER.encode
    assert ids == [*encode("Ng is a "), special.mask, *encode(" at "), special.gmask]


@given(AWKWARD_IDS, st.booleans())
@settings(max_examples=300)
def test_stream_decoder_equals_decode(ids, skip_special):
    stream = TOKENIZER.stream_decoder(skip_special=skip_special)
    text = "".join(stream.push(i) for i in ids) + stream.finish()
    assert text == TOKENIZER.decode(ids, skip_special=skip_special)


def test_stream_decoder_holds_back_half_a_character():
    ids = TOKENIZER.encode("\U0001f9ff")
    assert len(ids) == 4
    stream = TOKENIZER.stream_decoder()
    assert [stream.push(i) for i in ids] == ["", "", "", "\U0001f9ff"]
    stream.push(ids[0])
    assert stream.finish() == "\ufffd"
    assert stream.finish() == ""


def test_special_tokens_follow_the_pieces_in_order():
    special = TOKENIZER.special
    assert TOKENIZER.vocab_size == 16384
    assert special == SpecialTokens(*range(16376, 16384), eos=special.eos)
    assert TOKENIZER.piece(special.eos) == "</s>"
    printed = "[MASK][gMASK][sMASK]<eod><sop><eop><ENC><dBLOCK></s>"
    assert TOKENIZER.decode(special.names()) == printed
    assert TOKENIZER.decode(special.names(), skip_special=True) == ""


@pytest.mark.parametrize("text", ["\n", "\n\n", "\t", "  ", "    ", " the", "中国"])
def test_common_strings_are_one_token(text):
    assert len(TOKENIZER.encode(text)) == 1


def test_digits_stand_alone():
    assert len(TOKENIZER.encode("20240131")) == 8


@pytest.mark.parametrize("token_id", [-1, 16384, 10**9])
def test_unknown_id_is_refused(token_id):
    with pytest.raises(DataError, match="not in the vocabulary"):
        TOKENIZER.decode([5, token_id])
    with pytest.raises(DataError, match="not in the vocabulary"):
        TOKENIZER.stream_decoder().push(token_id)


def test_lone_surrogate_is_refused():
    with pytest.raises(DataError, match="surrogate"):
        TOKENIZER.encode("a\ud800b")


def test_save_and_load(tmp_path):
    TOKENIZER.save(tmp_path / "deep" / "folder")
    assert sorted(p.name for p in (tmp_path / "deep" / "folder").iterdir()) == [
        "tokenizer.model",
        "tokenizer_config.json",
    ]
    for path in (tmp_path / "deep/folder", str(tmp_path / "deep/folder/tokenizer.model")):
        loaded = Tokenizer.load(path)
        assert loaded.fingerprint == TOKENIZER.fingerprint
        assert loaded.special == TOKENIZER.special
    assert Tokenizer.load(tmp_path / "deep/folder").name == TOKENIZER.name
    assert Tokenizer.load("bundled").fingerprint == TOKENIZER.fingerprint


def test_pickled_tokenizer_encodes_the_same():
    copy = pickle.loads(pickle.dumps(TOKENIZER))
    assert copy.encode("hello 世界▁") == TOKENIZER.encode("hello 世界▁")
    assert copy.fingerprint == TOKENIZER.fingerprint


def test_missing_tokenizer_is_named(tmp_path):
    with pytest.raises(DataError, match="nowhere"):
        Tokenizer.load(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"tokenizer\.model"):
        Tokenizer.load(tmp_path)


@pytest.mark.parametrize("content", [b"", b"not a model", bytes(100)])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "x.model"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"x\.model.*not a SentencePiece model"):
        Tokenizer.load(path)


def sentencepiece_model(**options):
    from sentencepiece import SentencePieceTrainer

    model = io.BytesIO()
    options = {"model_type": "bpe", "vocab_size": 300, "hard_vocab_limit": False, "minloglevel": 2} | options
    sentences = iter(["the quick brown fox jumps over the lazy dog", "pack my box"] * 5)
    SentencePieceTrainer.train(sentence_iterator=sentences, model_writer=model, **options)
    return model.getvalue()


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"vocab_size": 40}, "no byte fallback"),
        ({"byte_fallback": True}, "changes the text"),
        ({"byte_fallback": True, "eos_id": -1}, "no control piece </s>"),
    ],
)
def test_unfit_models_are_refused(options, problem):
    with pytest.raises(DataError, match=problem):
        ExactTokenizer(sentencepiece_model(**options))


@pytest.mark.parametrize(
    ("content", "problem"),
    [("{", "cannot be read"), ("[]", "object"), (json.dumps({"vocab_size": 9}), "says vocab_size 9")],
)
def test_configuration_that_does_not_fit_is_refused(tmp_path, content, problem):
    TOKENIZER.save(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(content)
    with pytest.raises(DataError, match=problem):
        Tokenizer.load(tmp_path)


def test_import_does_not_load_torch():
    code = "import sys, glm130b.tokenization, glm130b.cli.tokenizer; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_commands_print_ids_pieces_and_facts():
    def run(*arguments):
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, result.output
        return result.output

    ids, pieces = run("encode", "Hi [MASK]\n中国", "--blanks").splitlines()
    assert "16376" in ids.split()
    assert pieces.endswith("[MASK] \\n 中国")
    assert run("decode", *ids.split()) == "Hi [MASK]\n中国\n"
    facts = run("info")
    assert "16384 ids" in facts
    assert "zh: 3." in facts
