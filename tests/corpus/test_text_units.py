"""Text as hashed units, against a slow and obvious cutter."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glm130b.corpus import units as module
from glm130b.corpus.units import units

TEXTS = st.text(alphabet=st.sampled_from("aB é.,-_'Ω9汉漢語。！かナ\nﬁ㎏ʼﾊ𠮷​"), max_size=60) | st.text(max_size=40)


def slow(text: str) -> list[tuple[str, int, int]]:
    """Words and single characters, folded one by one, with their places (Han, kana and Thai stand alone)."""
    import opencc

    simplify = opencc.OpenCC("t2s").convert
    found: list[tuple[str, int, int]] = []
    word, start, end = "", 0, 0
    for place, character in enumerate(text):
        character = character if ord(character) < 0x32000 else " "
        folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", character).casefold())
        for part in simplify(folded):
            is_letter = unicodedata.category(part)[0] in "LNM"
            alone = is_letter and any(first <= ord(part) <= last for first, last in ALONE)
            if word and (not is_letter or alone):
                found.append((word, start, end))
                word = ""
            if alone:
                found.append((part, place, place + 1))
            elif is_letter:
                start = start if word else place
                word, end = word + part, place + 1
    return [*found, (word, start, end)] if word else found


ALONE = ((0x0E00, 0x0FFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x2E80, 0x2FDF), (0x3005, 0x3007), (0x3021, 0x3029))
ALONE += ((0x3040, 0x30FF), (0x31F0, 0x31FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x323AF))


@given(TEXTS)
@settings(deadline=None)
def test_cut_like_the_slow_one(text: str) -> None:
    wanted, found = slow(text), units(text)
    assert [(int(s), int(e)) for s, e in zip(found.starts, found.ends, strict=True)] == [w[1:] for w in wanted]
    words = [word for word, _, _ in wanted]
    same = {(a, b) for a in range(len(words)) for b in range(len(words)) if words[a] == words[b]}
    assert same == {(a, b) for a in range(len(words)) for b in range(len(words)) if found.hashes[a] == found.hashes[b]}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("The CAT, sat.", "the cat -- sat"),
        ("漢語電腦", "汉语电脑"),
        ("ＡＢＣ　１２", "abc 12"),
        ("ﬁne ㎏", "FINE kg"),
        ("Straße", "STRASSE"),
    ],
)
def test_folding(one: str, other: str) -> None:
    assert units(one).hashes.tolist() == units(other).hashes.tolist()


def test_what_counts_as_one() -> None:
    found = units("Don't 萝卜拔 3.5 naïve")
    text = "Don't 萝卜拔 3.5 naïve"
    cut = [text[start:end] for start, end in zip(found.starts, found.ends, strict=True)]
    assert cut == ["Don", "t", "萝", "卜", "拔", "3", "5", "naïve"]
    assert found.num_characters == 3
    assert len(units("")) == len(units(" .,!")) == 0


@given(st.lists(st.sampled_from(["a", "b", "汉"]), max_size=30), st.integers(1, 6))
def test_ngrams_are_equal_where_the_units_are(words: list[str], n: int) -> None:
    grams = units(" ".join(words)).ngrams(n).tolist()
    rows = [tuple(words[place : place + n]) for place in range(len(words) - n + 1)]
    assert len(grams) == len(rows)
    assert len(set(grams)) == len(set(rows))
    assert len(set(zip(grams, rows, strict=True))) == len(set(rows))


def test_hashes_do_not_collide() -> None:
    words = [f"w{number:x}" for number in range(200_000)]
    found = units(" ".join(words))
    assert len(np.unique(found.hashes)) == len(words)
    assert len(np.unique(found.ngrams(3))) == len(words) - 2


def test_words_beyond_any_word() -> None:
    assert units("x" * 70).hashes.tolist() == units("x" * 90).hashes.tolist()
    assert units("x" * 60).hashes.tolist() != units("x" * 61).hashes.tolist()


@given(st.lists(st.sampled_from(["one", "ﬁ", "绿", "x" * 9, " ", "。", "\n", "-"]), max_size=40), st.integers(1, 12))
@settings(deadline=None)
def test_blocks_change_nothing(parts: list[str], block: int) -> None:
    text = "".join(parts)
    whole = units(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BLOCK", block)
        cut = units(text)
    for name in ("hashes", "starts", "ends", "num_characters"):
        assert np.array_equal(getattr(cut, name), getattr(whole, name))
