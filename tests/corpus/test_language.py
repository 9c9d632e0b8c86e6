"""Languages told apart by script and by py3langid."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glm130b.corpus.characters import (
    BLANK,
    DIGIT,
    HAN,
    LATIN,
    OTHER,
    PUNCTUATION,
    SYMBOL,
    count_kinds,
    kinds,
    printable,
)
from glm130b.corpus.language import language_of

ENGLISH = "The committee met on Tuesday and agreed that the old bridge should be repaired before the winter."
CHINESE = "委员会星期二开会，一致同意在冬天到来之前把那座旧桥修好。"
FRENCH = "Le comité s'est réuni mardi et a décidé que le vieux pont serait réparé avant l'hiver prochain."
GERMAN = "Der Ausschuss traf sich am Dienstag und beschloss, die alte Brücke vor dem Winter zu reparieren."
RUSSIAN = "Комитет собрался во вторник и решил, что старый мост следует починить до наступления зимы."
JAPANESE = "委員会は火曜日に開かれ、冬が来る前に古い橋を修理することに全員が同意しました。"
KOREAN = "위원회는 화요일에 모여 겨울이 오기 전에 오래된 다리를 고치기로 결정하였다."


@pytest.mark.parametrize(
    ("text", "language"),
    [
        (ENGLISH, "en"),
        (CHINESE, "zh"),
        ("委員會星期二開會，一致同意在冬天到來之前把那座舊橋修好。", "zh"),
        ("學而時習之，不亦說乎？有朋自遠方來，不亦樂乎？", "zh"),
        (FRENCH, "fr"),
        (GERMAN, "de"),
        (RUSSIAN, "ru"),
        (JAPANESE, "ja"),
        (KOREAN, "ko"),
        ("1234 5678 !!! --- ", "unknown"),
        ("Home\nAbout us", "unknown"),
        ("Home\nAbout us\n首页", "unknown"),
        ("", "unknown"),
        ("\ufffd\ufffd", "unknown"),
        (f"{CHINESE} The committee.", "zh"),
        (f"{ENGLISH * 3} 委员会开会。", "en"),
    ],
)
def test_without_a_label(text: str, language: str) -> None:
    assert language_of(text) == language


@pytest.mark.parametrize("label", ["zh", "zh-Hans", "zh_CN", "ZH", "zho", "chinese", "cmn"])
def test_labels_of_chinese(label: str) -> None:
    pairs = "I have to go to sleep.\n我得去睡觉了。\nThe committee met on Tuesday.\n委员会星期二开会。"
    assert language_of(pairs, label) == "zh"
    assert language_of(ENGLISH, label) == "en"


@pytest.mark.parametrize("label", ["English (US)", "eng_Latn", "en_US.UTF-8", "EN", "__label__en", "english", "en"])
def test_labels_of_english(label: str) -> None:
    assert language_of("api foo bar 接口", label) == "en"


@pytest.mark.parametrize("label", ["zho_Hans", "Simplified Chinese", "Chinese (Traditional)", "zh_TW.Big5"])
def test_more_labels_of_chinese(label: str) -> None:
    assert language_of("接口 api foo bar " * 2, label) == "zh"


@pytest.mark.parametrize(
    "label", ["None", "n/a", "unknown", "und", "mul", "[/b]", "['x']", "\x1b[31m", "lang 17", "xx<script>", "français"]
)
def test_what_is_no_label(label: str) -> None:
    assert language_of(ENGLISH, label) == "en"
    assert language_of(FRENCH, label) == "fr"


@given(st.text(max_size=12))
def test_a_language_is_a_short_code(label: str) -> None:
    """Whatever documents say they are, the ledger has few rows."""
    found = language_of(ENGLISH, label)
    assert found == "en" or (2 <= len(found) <= 3 and found.isascii() and found.islower())


def test_labels() -> None:
    assert language_of(ENGLISH, "en-GB") == language_of("api foo bar", "english") == "en"
    assert language_of(CHINESE, "en") == "zh"
    assert language_of(ENGLISH, "fr") == "fr"
    assert language_of(ENGLISH, "und") == language_of(ENGLISH, " unknown ") == "en"
    assert language_of("...", "en") == "unknown"


@given(st.text(st.characters(exclude_categories=("Cs",), max_codepoint=0x31FFF)))
def test_every_character_has_a_kind(text: str) -> None:
    """Against the categories, one character at a time."""
    for character, kind in zip(text, kinds(text).tolist(), strict=True):
        category = unicodedata.category(character)
        if character in "\t\n\r" or category[0] in "ZM":
            assert kind == BLANK
        elif category[0] == "L" or character in "〇〡〢〣〤〥〦〧〨〩":
            assert LATIN <= kind <= OTHER
        elif category[0] == "N":
            assert kind in (DIGIT, HAN)
        else:
            assert kind == {"P": PUNCTUATION, "S": SYMBOL, "C": SYMBOL}[category[0]]
    assert count_kinds(kinds(text)) == [kinds(text).tolist().count(kind) for kind in range(9)]


def test_characters_beyond_the_known_planes_are_symbols() -> None:
    assert kinds("\U000f0000\U00032000").tolist() == [SYMBOL, SYMBOL]
    assert kinds("aß𠀀漢〇").tolist() == [LATIN, LATIN, HAN, HAN, HAN]


@given(st.text())
def test_what_is_shown_has_no_controls(text: str) -> None:
    shown = printable(text)
    assert len(shown) == len(text)
    for character, other in zip(text, shown, strict=True):
        if character in "\t\n":
            assert other == " "
        else:
            assert other == ("\ufffd" if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co") else character)
