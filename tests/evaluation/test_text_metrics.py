"""Exact match and F1 against slow versions, cases by hand, and their properties."""

from __future__ import annotations

import re
import string
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glm130b.evaluation.items import Item, Question, Written
from glm130b.evaluation.metrics import METRICS
from glm130b.evaluation.metrics.segments import PUNCTUATION, segments, words
from glm130b.evaluation.metrics.text import exact_match, exact_match_zh, f1, f1_glm, f1_zh, normalized

ENGLISH = st.lists(
    st.sampled_from(["the", "A", "an", "cat", "Cat's", "sat,", "on", "mat.", "-", "3.5"]), max_size=6
).map(" ".join)
CHINESE = st.text([*"灯塔建于年月一座", *"，。《》-", *"ab1. "], max_size=10)


def written(answer: str, *references: str) -> Written:
    question = Question(Item("x", {}, references=references), "p", 0, "?", (), "")
    return Written(question, (answer,), (True,))


def score(metric: str, answer: str, *references: str) -> float:
    units = METRICS[metric].units([written(answer, *references)])
    assert units[0].parts[1] == 1
    return units[0].parts[0]


@pytest.mark.parametrize(
    ("answer", "reference", "exact", "overlap"),
    [
        ("The  Cat!", "cat", 1, 1),
        ("the cat sat", "a cat", 0, 2 / 3),
        ("cat cat", "cat", 0, 2 / 3),
        ("cat cat", "cat dog cat", 0, 4 / 5),
        ("dog", "cat", 0, 0),
        ("", "cat", 0, 0),
        ("theatre", "atre", 0, 0),
        ("J. R. R. Tolkien", "JRR Tolkien", 0, 1 / 3),
        ("the", "an", 1, 1),
    ],
)
def test_english_by_hand(answer: str, reference: str, exact: float, overlap: float) -> None:
    assert exact_match(answer, reference) == exact
    assert f1(answer, reference) == pytest.approx(overlap)


@pytest.mark.parametrize(
    ("answer", "reference", "exact", "overlap"),
    [
        ("1874年", "1874年", 1, 1),
        ("1874", "1874年", 0, 2 / 3),  # 1 of 1 segments, 1 of 2
        ("《北风曲》。", "北风曲", 1, 1),
        ("工程师何远山", "何远山", 0, 2 * 3 / 9),
        ("何的远山", "何远山", 0, 2 * 2 / 7),  # the longest run is 远山, though all three characters are there
        ("Paper Kites-7", "乐队Paper Kites-7", 0, 2 * 2 / 6),  # paper, kites7 of 乐, 队, paper, kites7
        ("PAPER kites7", "Paper Kites-7", 1, 1),
        ("3,200张", "3200张", 0, 1 / 2),  # ASCII commas stay
        ("木材和蜂蜜", "蜂蜜和木材", 0, 2 / 5),
        ("蜂", "木材", 0, 0),
        ("。", "，", 1, 0),  # as the official scorer has it
        ("好……", "好…", 0, 1 / 2),  # not in the list, which says it twice
    ],
)
def test_chinese_by_hand(answer: str, reference: str, exact: float, overlap: float) -> None:
    assert exact_match_zh(answer, reference) == exact
    assert f1_zh(answer, reference) == pytest.approx(overlap)


def test_the_authors_rules_make_a_word_of_a_chinese_answer() -> None:
    assert score("f1_glm", "工程师何远山", "何远山") == 0
    assert score("f1_zh", "工程师何远山", "何远山") == pytest.approx(2 / 3)
    assert score("em_glm", "《北风曲》", "北风曲") == 0, "only ASCII punctuation is taken out"
    assert score("exact_match_zh", "《北风曲》", "北风曲") == 1
    assert (score("f1_glm", "the", "a"), score("f1", "the", "a"), score("em_glm", "the", "a")) == (0, 1, 1)


def test_the_best_reference_counts() -> None:
    assert score("exact_match", "b", "a", "b", "c") == 1
    assert score("f1", "b d", "a", "b", "c") == pytest.approx(2 / 3)
    assert score("f1_zh", "一座博物馆", "博物馆", "座") == pytest.approx(2 * 3 / 8)
    assert score("f1_zh", "博物馆") == 0, "no reference, no point"


@pytest.mark.parametrize("name", ["exact_match", "exact_match_zh", "em_glm", "f1", "f1_zh", "f1_glm"])
def test_values_are_means_and_only_exact_matches_are_shares(name: str) -> None:
    metric = METRICS[name]
    units = metric.units([written("甲", "甲"), written("乙", "甲"), written("丙", "丙"), written("丁", "甲")])
    sums = [sum(column) for column in zip(*(unit.parts for unit in units), strict=True)]
    assert metric.value(np.array(sums, dtype=float)) == 0.5
    assert metric.is_ratio == (not name.startswith("f1"))


def slow_words(text: str) -> list[str]:
    """SQuAD's normalisation, character by character."""
    kept = "".join(" " if c.isspace() else c for c in text.lower() if c not in string.punctuation)
    return [word for word in kept.split() if word not in ("a", "an", "the")]


def slow_f1(given: Sequence[str], right: Sequence[str], shared: int) -> float:
    if not shared:
        return 0.0
    precision, recall = shared / len(given), shared / len(right)
    return 2 * precision * recall / (precision + recall)


def slow_longest_run(one: Sequence[str], other: Sequence[str]) -> int:
    runs = [one[a:b] for a in range(len(one)) for b in range(a + 1, len(one) + 1)]
    theirs = [other[a:b] for a in range(len(other)) for b in range(a + 1, len(other) + 1)]
    return max((len(run) for run in runs if run in theirs), default=0)


@given(ENGLISH, ENGLISH)
def test_english_is_what_a_slow_version_says(answer: str, reference: str) -> None:
    one, other = slow_words(answer), slow_words(reference)
    assert normalized(answer).split() == one
    left = list(other)
    shared = sum(1 for word in one if word in left and left.remove(word) is None)
    assert f1_glm(answer, reference) == pytest.approx(slow_f1(one, other, shared))
    assert f1(answer, reference) == pytest.approx(slow_f1(one, other, shared) if one or other else 1)
    assert exact_match(answer, reference) == (one == other)


@given(CHINESE, CHINESE)
def test_chinese_is_what_a_slow_version_says(answer: str, reference: str) -> None:
    one, other = segments(answer), segments(reference)
    assert f1_zh(answer, reference) == pytest.approx(slow_f1(one, other, slow_longest_run(one, other)))


@given(st.text([*"灯塔建于", *"ab1 ", *"，《-"]))
def test_segments_are_characters_and_words(text: str) -> None:
    kept = re.sub("[，《-]", "", text)
    assert segments(text) == re.findall("[一-龥]|[ab1]+", kept)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("r. d. duvauceli", "r.|d.|duvauceli"),
        ("about 3.5%, or 3,200", "about|3.5|%|,|or|3,200"),
        ("10:30.", "10:30|."),
        ("he said (twice.)", "he|said|(|twice|.|)"),
        ("i don't know john's", "i|do|n't|know|john|'s"),
        ("wait... what?!", "wait|...|what|?|!"),
        ("at&t — $5", "at|&|t|—|$|5"),
        ("'s", "'s"),
    ],
)
def test_words_are_cut_as_the_treebank_cuts_them(text: str, expected: str) -> None:
    assert words(text) == expected.split("|")


@given(st.text(st.characters(max_codepoint=0x3000)))
def test_no_character_is_lost_but_blanks(text: str) -> None:
    assert "".join(words(text)) == "".join(text.split())


@given(st.sampled_from(sorted(PUNCTUATION)))
def test_punctuation_of_the_official_list_never_counts(mark: str) -> None:
    assert exact_match_zh(f"灯{mark}塔{mark}", "灯塔") == f1_zh(f"灯{mark}塔{mark}", "灯塔") == 1


@given(st.sampled_from([ENGLISH, CHINESE, st.text()]).flatmap(lambda one: st.tuples(one, st.lists(one, min_size=1))))
def test_scores_lie_between_0_and_1_whatever_the_order_of_references(given_: tuple[str, list[str]]) -> None:
    answer, references = given_
    for name in ("exact_match", "f1", "exact_match_zh", "f1_zh", "em_glm", "f1_glm"):
        value = score(name, answer, *references)
        assert 0 <= value <= 1
        assert value == score(name, answer, *reversed(references)) == score(name, answer, *references, *references)
        assert value >= max(score(name, answer, reference) for reference in references)
    assert score("exact_match", answer, *references) <= score("f1", answer, *references)
    if segments(answer):
        assert score("exact_match_zh", answer, *references) <= score("f1_zh", answer, *references)
    if normalized(answer):
        assert score("em_glm", answer, *references) <= score("f1_glm", answer, *references)
        assert score("f1_glm", answer, *references) == score("f1", answer, *references)
