"""Written answers against right ones: exact match and F1, in English, in Chinese, and as the authors' code has them.

An answer's score is the best over its references. English normalisation and the F1 of words are those of SQuAD;
``_zh`` is the official scorer of CMRC2018 (its version 5), which CLUE uses for DRCD too. The authors' code applies
the English rules to Chinese as well, where an answer without blanks is a single word.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from difflib import SequenceMatcher

from glm130b.evaluation.items import Unit, Written
from glm130b.evaluation.metrics.metric import Metric, mean, ratio, unit_of
from glm130b.evaluation.metrics.segments import segments, without_punctuation

Compare = Callable[[str, str], float]

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_MARKS = str.maketrans("", "", string.punctuation)


def normalized(text: str) -> str:
    """SQuAD's normalisation: lower case, no ASCII punctuation, no articles, single blanks."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_NO_MARKS)).split())


def exact_match(answer: str, reference: str) -> float:
    """1 if both are the same once normalised, else 0."""
    return float(normalized(answer) == normalized(reference))


def f1(answer: str, reference: str) -> float:
    """Harmonic mean of precision and recall of words, as bags; two texts without words agree (SQuAD 2.0)."""
    given, right = normalized(answer).split(), normalized(reference).split()
    return _f1((Counter(given) & Counter(right)).total(), given, right) if given or right else 1.0


def f1_glm(answer: str, reference: str) -> float:
    """``f1`` but for texts without words, which never agree (SQuAD 1.1)."""
    given, right = normalized(answer).split(), normalized(reference).split()
    return _f1((Counter(given) & Counter(right)).total(), given, right)


def exact_match_zh(answer: str, reference: str) -> float:
    """1 if both are the same in lower case and without punctuation, else 0."""
    return float(without_punctuation(answer) == without_punctuation(reference))


def f1_zh(answer: str, reference: str) -> float:
    """F1 of the longest run of segments that both have; a segment is a Chinese character or another word."""
    given, right = segments(answer), segments(reference)
    return _f1(SequenceMatcher(None, given, right, autojunk=False).find_longest_match().size, given, right)


def _f1(shared: int, given: Sequence[str], right: Sequence[str]) -> float:
    return 2 * shared / (len(given) + len(right)) if shared else 0.0


def _best(compare: Compare) -> Callable[[Sequence[Written]], list[Unit]]:
    def units(outcomes: Sequence[Written]) -> list[Unit]:
        return [
            unit_of(one, max((compare(text, right) for text in one.texts[:1] for right in references), default=0), 1)
            for one in outcomes
            for references in [one.question.item.references]
        ]

    return units


METRICS = [
    Metric("exact_match", "exact match", _best(exact_match), ratio),
    Metric("f1", "F1 (words)", _best(f1), mean),
    Metric("exact_match_zh", "exact match (official, Chinese)", _best(exact_match_zh), ratio),
    Metric("f1_zh", "F1 (official, Chinese characters)", _best(f1_zh), mean),
    Metric("em_glm", "exact match (authors' code, English rules)", _best(exact_match), ratio),
    Metric("f1_glm", "F1 (authors' code, English words)", _best(f1_glm), mean),
]
