"""ROUGE-2 and ROUGE-L (Lin, 2004) as the GEM metrics and the authors compute them.

Texts are lower-cased, cut at everything but a-z and 0-9, and words of more than three letters stemmed
(``porter.py``), as ``rouge_score`` does with ``use_stemmer=True``. A score is the F-measure, averaged over items.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from statistics import fmean

from glm130b.evaluation.items import Unit, Written
from glm130b.evaluation.metrics.metric import Metric, mean, unit_of
from glm130b.evaluation.metrics.porter import stem

Words = Sequence[str]


def words_of(text: str) -> list[str]:
    """The words that ROUGE compares."""
    return [stem(word) if len(word) > 3 else word for word in re.findall("[a-z0-9]+", text.lower())]


def rouge_n(first: Words, second: Words, n: int) -> float:
    """F-measure of common n-grams, from 0 to 1; an n-gram counts as often as it is in both."""
    grams = [Counter(zip(*(words[start:] for start in range(n)), strict=False)) for words in (first, second)]
    return _f_measure((grams[0] & grams[1]).total(), grams[0].total(), grams[1].total())


def rouge_l(first: Words, second: Words) -> float:
    """F-measure of the longest common subsequence, from 0 to 1."""
    return _f_measure(_common_length(first, second), len(first), len(second))


def over_references(score: Callable[[Words, Words], float], text: str, references: Sequence[str]) -> float:
    """One score of a text that has several references: Lin's jackknife, as the GEM metrics have it.

    The best score is taken over all references but one, for each one left out, and these are averaged.

    Args:
        references: at least one.
    """
    words = words_of(text)
    scores = sorted((score(words, words_of(reference)) for reference in references), reverse=True)
    if len(scores) == 1:
        return scores[0]
    return (scores[0] * (len(scores) - 1) + scores[1]) / len(scores)


def _common_length(first: Words, second: Words) -> int:
    """Length of the longest common subsequence, by Hyyrö's bit vectors (2004)."""
    places: dict[str, int] = {}
    for n, word in enumerate(first):
        places[word] = places.get(word, 0) | 1 << n
    whole = (1 << len(first)) - 1
    free = whole
    for word in second:
        found = free & places.get(word, 0)
        free = (free + found | free - found) & whole
    return len(first) - free.bit_count()


def _f_measure(common: int, first: int, second: int) -> float:
    return 2 * common / (first + second) if common else 0.0


def _units(outcomes: Sequence[Written], score: Callable[[Words, Words], float], first_only: bool) -> list[Unit]:
    units = []
    for outcome in outcomes:
        references = outcome.question.item.references[: 1 if first_only else None]
        value = fmean(over_references(score, text, references) for text in outcome.texts)
        units.append(unit_of(outcome, value, 1))
    return units


_SCORES: dict[str, Callable[[Words, Words], float]] = {"2": partial(rouge_n, n=2), "L": rouge_l}

METRICS = [
    Metric(f"rouge{name}{suffix}", f"ROUGE-{name}{title}", partial(_units, score=score, first_only=bool(suffix)), mean)
    for suffix, title in (("", " (GEM)"), ("_glm", " (authors: first reference)"))
    for name, score in _SCORES.items()
]
