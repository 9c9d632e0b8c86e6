"""What is changed in a text, and that the rest is not."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glm130b.corpus.normalise import normalise

ANY = st.text(
    st.one_of(
        st.sampled_from("\n\r\t \u3000\u00a0\u200d\u200b\ufeff\u2028\u0301a\u1100\u1161\ufe0f\U0001f468\ufffd"),
        st.characters(exclude_categories=("Cs",)),
    )
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("e\u0301te\u0301", "\u00e9t\u00e9"),
        ("a\r\nb\rc\u2028d\u2029e\x0bf\x0cg\x85h", "a\nb\nc\nd\ne\nf\ng\nh"),
        ("a\x00b\x1bc\x7fd\x9fe", "abcde"),
        ("\ufeffa\u200bb\u2060c\u00add\u200e\u202ee\u2066f", "abcdef"),
        ("a  \nb\t\n\u3000\nc \u3000\t", "a\nb\n\nc"),
        ("a\n\n\n\nb\n \n\t\n\nc", "a\n\nb\n\nc"),
        ("\n\n  a\n\n", "  a"),
        ("a\u00a0b", "a b"),
        ("\U0001f468\u200d\U0001f469 x\u200dy", "\U0001f468\u200d\U0001f469 xy"),
        ("lost \ufffd here", "lost \ufffd here"),
        ("a\ufffeb\U000e0041c\ufdd0", "abc"),
        (" \n\t\u200b\r\n", ""),
        ("", ""),
    ],
)
def test_by_hand(text: str, expected: str) -> None:
    assert normalise(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "def f(x):\n\tif x:\n\t    return  x",
        "　　第一段，从全角空格开始。\n　　第二段。",
        "a\n\nb\nc",
        "naïve café — “quoted” … ½ ﬁ Ⅳ ａ １ ㎏",
        "繁體字與简体字",
        "2\u2009000 km, \u2212 5 °C",
        "नमस्ते \u2764\ufe0f \U0001f469\u200d\U0001f680",
    ],
)
def test_what_means_something_stays(text: str) -> None:
    assert normalise(text) == text


@settings(max_examples=300, deadline=None)
@given(ANY)
def test_fixed_point_without_what_it_removes(text: str) -> None:
    once = normalise(text)
    assert normalise(once) == once
    assert unicodedata.is_normalized("NFC", once)
    assert "\n\n\n" not in once
    assert not any(line.endswith((" ", "\t", "\u3000")) for line in once.split("\n"))
    assert not any(unicodedata.category(c) == "Cc" and c not in "\t\n" for c in once)


@settings(max_examples=200, deadline=None)
@given(ANY)
def test_letters_and_digits_stay_in_their_order(text: str) -> None:
    def letters(part: str) -> str:
        return "".join(c for c in unicodedata.normalize("NFC", part) if c.isalnum())

    assert letters(normalise(text)) == letters("".join(c for c in text if not unicodedata.category(c).startswith("C")))


def test_a_long_run_of_blanks_takes_no_longer_than_it_is() -> None:
    """A backtracking pattern would not come back from this."""
    assert normalise("a" + " " * 1_000_000 + "b") == "a" + " " * 1_000_000 + "b"
