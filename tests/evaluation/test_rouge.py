"""ROUGE and its stemmer against numbers of the common implementations, and against slow obvious versions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial
from statistics import fmean

import pytest
from asking import question, value
from hypothesis import given
from hypothesis import strategies as st

from glm130b.evaluation.items import Item, Question, Written
from glm130b.evaluation.metrics import METRICS
from glm130b.evaluation.metrics.porter import stem
from glm130b.evaluation.metrics.rouge import over_references, rouge_l, rouge_n, words_of

STEMS = """
caresses caress|ponies poni|ties tie|caress caress|cats cat|feed feed|agreed agre|plastered plaster|bled bled
motoring motor|sing sing|conflated conflat|troubled troubl|sized size|hopping hop|tanned tan|falling fall
hissing hiss|fizzed fizz|failing fail|filing file|happy happi|sky sky|enjoy enjoy|spy spi|relational relat
conditional condit|rational ration|valenci valenc|digitizer digit|conformabli conform|radically radic
differently differ|vileli vile|analogously analog|vietnamization vietnam|predication predic|operator oper
feudalism feudal|decisiveness decis|hopefulness hope|callousness callous|formaliti formal|sensitiviti sensit
sensibiliti sensibl|triplicate triplic|formative form|formalize formal|electriciti electr|electrical electr
hopeful hope|goodness good|revival reviv|allowance allow|inference infer|airliner airlin|gyroscopic gyroscop
adjustable adjust|defensible defens|irritant irrit|replacement replac|adjustment adjust|dependent depend
adoption adopt|homologou homolog|communism commun|activate activ|angulariti angular|homologous homolog
effective effect|bowdlerize bowdler|probate probat|rate rate|cease ceas|controll control|roll roll|dying die
lying lie|news news|innings inning|proceed proceed|died die|spied spi|flies fli|dies die|geology geolog
theology theolog|archaeology archaeolog|biology biolog|skies sky|yyyy yyyi|syzygy syzygi|owed owe|axed axe
ability abil|usefully use|really realli|added ad|egg egg|ied i|ing ing
"""
"""Words of Porter's article and of the extensions, as NLTK 3.10 stems them."""

SCORES = [
    (
        "The cat was sitting on the mats, happily.",
        "A cat sat happily upon the mat; the cats were sitting.",
        0.23529411764705882,
        0.3157894736842105,
    ),
    ("the the the cat", "the cat the", 0.4, 0.5714285714285715),
    ("", "nothing here", 0.0, 0.0),
    ("Ünïcode naïve café", "Unicode naive cafe", 0.0, 0.0),
    ("police killed the gunman", "police kill the gunman", 1.0, 1.0),
    ("a b c d e f", "f e d c b a", 0.0, 0.16666666666666666),
    ("1,000 dogs ran 3.5 miles", "1 000 dogs running 3 5 mile", 0.6666666666666666, 0.8571428571428571),
]
"""Two texts, ROUGE-2 and ROUGE-L, by rouge-score 0.1.2 with its stemmer."""

REFERENCES = ("Lake Orun lies near Besk.", "Near Besk lies Lake Orun.", "Lake Orun is located at Besk.")
ANSWER = "Lake Orun is near the town of Besk."

words = st.lists(st.sampled_from("abcd"), max_size=12)


def slow_rouge_l(first: Sequence[str], second: Sequence[str]) -> float:
    @cache
    def common(i: int, j: int) -> int:
        if i == 0 or j == 0:
            return 0
        if first[i - 1] == second[j - 1]:
            return common(i - 1, j - 1) + 1
        return max(common(i - 1, j), common(i, j - 1))

    length = common(len(first), len(second))
    return slow_f(length, len(first), len(second))


def slow_rouge_n(first: Sequence[str], second: Sequence[str], n: int) -> float:
    left = [tuple(first[k : k + n]) for k in range(len(first) - n + 1)]
    right = [tuple(second[k : k + n]) for k in range(len(second) - n + 1)]
    rest, common = list(right), 0
    for gram in left:
        if gram in rest:
            rest.remove(gram)
            common += 1
    return slow_f(common, len(left), len(right))


def slow_f(common: int, first: int, second: int) -> float:
    if not common:
        return 0.0
    precision, recall = common / first, common / second
    return 2 * precision * recall / (precision + recall)


@pytest.mark.parametrize("pair", STEMS.strip().replace("\n", "|").split("|"))
def test_stems_are_those_of_nltk(pair: str) -> None:
    word, stemmed = pair.split()
    assert stem(word) == stemmed


@given(st.text("aeiouybcdlnstz", max_size=20))
def test_a_stem_is_not_longer_than_its_word(word: str) -> None:
    assert len(stem(word)) <= len(word)


@pytest.mark.parametrize(("first", "second", "rouge_2", "rouge_longest"), SCORES)
def test_scores_are_those_of_rouge_score(first: str, second: str, rouge_2: float, rouge_longest: float) -> None:
    assert rouge_n(words_of(first), words_of(second), 2) == pytest.approx(rouge_2, abs=1e-12)
    assert rouge_l(words_of(first), words_of(second)) == pytest.approx(rouge_longest, abs=1e-12)


@given(words, words)
def test_scores_are_those_of_the_definition(first: list[str], second: list[str]) -> None:
    assert rouge_l(first, second) == pytest.approx(slow_rouge_l(first, second))
    for n in (1, 2, 3):
        assert rouge_n(first, second, n) == pytest.approx(slow_rouge_n(first, second, n))


def test_long_texts_have_a_longest_common_subsequence_too() -> None:
    first, second = [str(n) for n in range(500)], [str(n) for n in range(1, 1000, 2)]
    assert rouge_l(first, second) == pytest.approx(2 * 250 / 1000)


@given(words, st.lists(words, min_size=1, max_size=5))
def test_several_references_are_jackknifed(text: list[str], references: list[list[str]]) -> None:
    scores = [slow_rouge_l(text, reference) for reference in references]
    rounds = [max(scores[:n] + scores[n + 1 :], default=scores[0]) for n in range(len(scores))]
    found = over_references(rouge_l, " ".join(text), [" ".join(reference) for reference in references])
    assert found == pytest.approx(fmean(rounds))


def test_several_references_give_the_score_of_the_gem_metrics() -> None:
    found = [over_references(score, ANSWER, REFERENCES) for score in (partial(rouge_n, n=2), rouge_l)]
    assert found == pytest.approx([0.2828282828282828, 0.6007326007326008], abs=1e-12)


def test_metrics_are_means_over_items_and_no_shares() -> None:
    asked = [
        Question(Item(str(n), {}, references=references), "p", 0, "t", (), "d")
        for n, references in enumerate([REFERENCES, ("Nothing of it.",)])
    ]
    outcomes = [Written(one, (ANSWER,), (True,)) for one in asked]
    assert value("rougeL", outcomes) == pytest.approx((0.6007326007326008 + value("rougeL", outcomes[1:])) / 2)
    first = rouge_l(words_of(ANSWER), words_of(REFERENCES[0]))
    assert value("rougeL_glm", outcomes[:1]) == pytest.approx(first)
    assert value("rouge2_glm", outcomes[:1]) == pytest.approx(rouge_n(words_of(ANSWER), words_of(REFERENCES[0]), 2))
    assert not any(METRICS[name].is_ratio for name in ("rouge2", "rougeL", "rouge2_glm", "rougeL_glm"))


def test_several_drawn_texts_are_averaged() -> None:
    asked = question(0)
    asked = Question(Item("x", {}, references=("a b c d",)), "p", 0, "t", (), asked.digest)
    assert value("rouge2", [Written(asked, ("a b c d", "d c b a"), (True, True))]) == pytest.approx(0.5)
