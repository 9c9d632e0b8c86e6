import random
from dataclasses import dataclass

import pytest

from glm130b.errors import DataError
from glm130b.tokenization import Tokenizer, balanced_sample, train_tokenizer

WORDS = [
    "the",
    "a",
    "cat",
    "dog",
    "house",
    "2024",
    "sees",
    "green",
    "天气",
    "很好",
    "我们",
    "喜欢",
    "学习",
    "中文",
]


def sentences(count=300, seed=0):
    choose = random.Random(seed)
    return [" ".join(choose.choices(WORDS, k=8)) + ".\n\n\tnext line\0▁" for _ in range(count)]


def test_trained_tokenizer_is_exact_and_repeatable(tmp_path):
    first = train_tokenizer(sentences(), vocab_size=340, out=tmp_path / "first")
    second = train_tokenizer(iter(sentences()), vocab_size=340, out=tmp_path / "second")
    assert first.vocab_size == 340
    assert first.fingerprint == second.fingerprint
    assert sorted(p.name for p in tmp_path.iterdir()) == ["first", "second"]
    loaded = Tokenizer.load(tmp_path / "first")
    assert loaded.name == "bilingual"
    text = " the  cat\n\n\n我们喜欢①\t中文 unseen Ωé▁ "
    assert loaded.decode(loaded.encode(text)) == text
    assert loaded.encode(text) == first.encode(text)
    assert len(loaded.encode(" the")) == 1
    assert len(loaded.encode("\n\n")) == 1


def test_model_file_names_no_path(tmp_path):
    train_tokenizer(sentences(), vocab_size=320, out=tmp_path / "out")
    model = (tmp_path / "out" / "tokenizer.model").read_bytes()
    assert str(tmp_path).encode() not in model


@pytest.mark.parametrize("documents", [[], [""], ["\n\r\n", "\t"]])
def test_no_text_is_refused(tmp_path, documents):
    with pytest.raises(DataError, match="no text"):
        train_tokenizer(documents, vocab_size=320, out=tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_too_little_text_names_the_largest_vocabulary(tmp_path):
    with pytest.raises(DataError, match="at most") as caught:
        train_tokenizer(["hello world"], vocab_size=5000, out=tmp_path / "out")
    largest = int(caught.value.next_step.rstrip(".").split()[-1])
    assert train_tokenizer(["hello world"], vocab_size=largest, out=tmp_path / "out").vocab_size == largest


@pytest.mark.parametrize("vocab_size", [-1, 0, 8, 100])
def test_too_small_vocabulary_names_the_smallest(tmp_path, vocab_size):
    with pytest.raises(DataError, match=r"Ask for at least 27\d"):
        train_tokenizer(["hello"], vocab_size=vocab_size, out=tmp_path / "out")


@pytest.mark.parametrize("coverage", [0.5, 1.1])
def test_coverage_out_of_range_is_refused(tmp_path, coverage):
    with pytest.raises(DataError, match="character_coverage"):
        train_tokenizer(["a"], vocab_size=300, out=tmp_path / "out", character_coverage=coverage)


def test_existing_folder_is_kept(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match="already exists"):
        train_tokenizer(sentences(), vocab_size=300, out=tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_error_while_reading_keeps_its_type(tmp_path):
    def documents():
        yield "hello world"
        raise DataError("Line 2 is not JSON.", "Mend it.")

    with pytest.raises(DataError, match="Line 2"):
        train_tokenizer(documents(), vocab_size=320, out=tmp_path / "out")


@dataclass
class Text:
    id: str
    text: str
    lang: str | None


def test_sample_is_balanced_and_free_of_the_order():
    documents = [Text(f"en{i}", f"{i:03} ".ljust(100), "en") for i in range(100)]
    documents += [Text(f"zh{i}", "中" * 10, "zh") for i in range(10)]
    documents += [Text("plain", "x", None)]
    sample = balanced_sample(documents, bytes_per_language=950)
    assert {lang: len(texts) for lang, texts in sample.items()} == {"en": 10, "unknown": 1, "zh": 10}
    assert balanced_sample(documents[::-1], bytes_per_language=950) == sample
    assert balanced_sample(documents, bytes_per_language=950, seed=1)["en"] != sample["en"]
