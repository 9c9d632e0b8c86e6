"""Saving, finding and refusing icetk files; the model is the stand-in of ``small_ice.py``."""

from __future__ import annotations

import hashlib
import json
import pickle
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from small_ice import MODEL, small_ice_model
from typer.testing import CliRunner

from glm130b.cli.tokenizer import app
from glm130b.errors import DataError
from glm130b.tokenization import ExactTokenizer, IceTokenizer, Tokenizer
from glm130b.tokenization.proto import PieceType, with_pieces

OPTIONS: list[dict[str, Any]] = [
    {},
    {"newlines": "piece"},
    {"generation": 2},
    {"generation": 2, "newlines": "space"},
    {"generation": 2, "dummy_prefix": False},
]
TEXT = "good  dog\n你好！\tΩ"


@pytest.mark.parametrize("options", OPTIONS)
def test_save_and_load(tmp_path: Path, options: dict[str, Any]) -> None:
    tokenizer = IceTokenizer(MODEL, name="ours", **options)
    tokenizer.save(tmp_path / "deep" / "folder")
    assert sorted(path.name for path in (tmp_path / "deep" / "folder").iterdir()) == [
        "ice_text.model",
        "tokenizer_config.json",
    ]
    assert (tmp_path / "deep/folder/ice_text.model").read_bytes() == MODEL
    for loaded in (Tokenizer.load(tmp_path / "deep/folder"), pickle.loads(pickle.dumps(tokenizer))):
        assert isinstance(loaded, IceTokenizer)
        assert (loaded.name, loaded.vocab_size) == ("ours", tokenizer.vocab_size)
        assert loaded.fingerprint == tokenizer.fingerprint
        assert loaded.encode(TEXT) == tokenizer.encode(TEXT)


def test_fingerprint_tells_options_apart() -> None:
    assert IceTokenizer(MODEL).fingerprint == hashlib.sha256(MODEL).hexdigest()
    assert len({IceTokenizer(MODEL, **options).fingerprint for options in OPTIONS}) == len(OPTIONS)
    assert len({IceTokenizer(MODEL, **options).model_fingerprint for options in OPTIONS}) == 1


def test_bare_model_file_is_enough(tmp_path: Path) -> None:
    (tmp_path / "ice_text.model").write_bytes(MODEL)
    for path in (tmp_path, tmp_path / "ice_text.model", str(tmp_path / "ice_text.model")):
        loaded = Tokenizer.load(path)
        assert isinstance(loaded, IceTokenizer)
        assert (loaded.newlines, loaded.generation, loaded.dummy_prefix) == ("space", 1, True)
    Tokenizer.load().save(tmp_path)
    assert isinstance(Tokenizer.load(tmp_path), ExactTokenizer)


def test_renamed_model_is_told_its_name(tmp_path: Path) -> None:
    (tmp_path / "other.model").write_bytes(MODEL)
    with pytest.raises(DataError, match=r"name it ice_text\.model") as caught:
        Tokenizer.load(tmp_path / "other.model")
    assert "no byte fallback" in caught.value.problem
    (tmp_path / "other.model").write_bytes(small_ice_model(byte_fallback=True, vocab_size=400))
    with pytest.raises(DataError, match=r"changes the text.*name it ice_text\.model"):
        Tokenizer.load(tmp_path / "other.model")


def bundled_model() -> bytes:
    return resources.files("glm130b").joinpath("tokenization/bundled/tokenizer.model").read_bytes()


def many_pieces() -> bytes:
    names = [f"x{i}" for i in range(130000)]
    spelled = [(f"<0x{byte:02X}>", PieceType.BYTE) for byte in range(256)]
    return with_pieces(MODEL, [*((name, PieceType.CONTROL) for name in names), *spelled])


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (lambda: b"", "not a SentencePiece model"),
        (lambda: MODEL[:-100], "not a SentencePiece model"),
        (bundled_model, "no control piece </s> at 2"),
        (lambda: small_ice_model(eos_id=1, bos_id=2), "no control piece </s> at 2"),
        (many_pieces, "at most 130000"),
    ],
)
def test_wrong_files_are_refused(tmp_path: Path, content: Any, problem: str) -> None:
    (tmp_path / "ice_text.model").write_bytes(content())
    with pytest.raises(DataError, match=rf"ice_text\.model: .*{problem}"):
        Tokenizer.load(tmp_path)


def test_newline_piece_is_needed_where_it_is_used() -> None:
    model = small_ice_model(user_defined_symbols=[])
    tokenizer = IceTokenizer(model, generation=2, newlines="space")
    assert tokenizer.decode(tokenizer.encode("good\ndog")) == "good dog"
    for options in ({"newlines": "piece"}, {"generation": 2}, {"dummy_prefix": False}):
        with pytest.raises(DataError, match="no piece <n>"):
            IceTokenizer(model, **options)  # type: ignore[arg-type]


def test_pieces_of_generation_2_must_be_new() -> None:
    model = small_ice_model(user_defined_symbols=["<n>", "<|tab|>"])
    assert IceTokenizer(model).generation == 1
    with pytest.raises(DataError, match=r"has a piece <\|tab\|>, which generation 2 adds"):
        IceTokenizer(model, generation=2)


def test_dummy_prefix_that_cannot_be_taken_off_is_refused() -> None:
    tokenizer = IceTokenizer(small_ice_model(add_dummy_prefix=False), generation=2, dummy_prefix=False)
    with pytest.raises(DataError, match="cannot be taken off"):
        tokenizer.encode("dog")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"vocab_size": 150344}, "says vocab_size 150344"),
        ({"generation": 2}, "says vocab_size 150008"),
        ({"generation": 3}, "generation=3"),
        ({"newlines": "keep"}, "newlines='keep'"),
        ({"dummy_prefix": "no"}, "dummy_prefix='no'"),
        ({"type": "sentencepiece"}, r"no tokenizer at .*tokenizer\.model"),
        ({"type": "wordpiece"}, "says type 'wordpiece'"),
        ({"type": ["icetk"]}, "says type"),
    ],
)
def test_configuration_that_does_not_fit_is_refused(tmp_path: Path, change: dict[str, Any], problem: str) -> None:
    IceTokenizer(MODEL).save(tmp_path)
    file = tmp_path / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(DataError, match=problem):
        Tokenizer.load(tmp_path)


def test_commands_take_the_model_file(tmp_path: Path) -> None:
    file = tmp_path / "ice_text.model"
    file.write_bytes(MODEL)

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(app, [*arguments, "--tokenizer", str(file)])
        assert result.exit_code == 0, result.output
        return result.output

    ids, pieces = run("encode", "good [MASK]\n你好", "--blanks").splitlines()
    assert "150000" in ids.split()
    assert pieces.startswith("▁ g o od [MASK] ▁ ")
    assert run("decode", *ids.split()) == "good[[MASK]]你好\n"
    facts = run("info")
    assert f"icetk: 150008 ids, sha256 {hashlib.sha256(MODEL).hexdigest()}" in facts
    assert "20002  </s>" in facts
