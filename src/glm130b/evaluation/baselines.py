"""What guessing would score: every table shows it beside a model's score."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import fmean

from glm130b.evaluation.items import Chosen, Outcome, Written

_DRAWS = 20


def random_score(
    value: Callable[[Sequence[Outcome]], float], outcomes: Sequence[Outcome], *, exact: bool
) -> float | None:
    """The expected score of scores that are drawn evenly; None where there is nothing to choose among.

    Drawn scores choose evenly, and order any two options evenly too.

    Args:
        value: a metric of outcomes.
        exact: the metric is the share of right choices, whose expectation is known; others are averaged over
            20 seeded draws.
    """
    chosen = [outcome for outcome in outcomes if isinstance(outcome, Chosen)]
    if not chosen or len(chosen) < len(outcomes):
        return None
    if exact:
        return fmean(len(set(one.question.item.labels)) / len(one.scores) for one in chosen)
    rng = random.Random(0)
    return fmean(value([_scored(one, [rng.random() for _ in one.scores]) for one in chosen]) for _ in range(_DRAWS))


def majority_score(value: Callable[[Sequence[Outcome]], float], outcomes: Sequence[Outcome]) -> float | None:
    """The score of always giving the commonest right answer; None where there is none.

    The commonest option by its place; for free answers the commonest reference.
    """
    chosen = [outcome for outcome in outcomes if isinstance(outcome, Chosen)]
    if chosen and len(chosen) == len(outcomes):
        counts = Counter(label for one in chosen for label in one.question.item.labels)
        if not counts:
            return None
        commonest = min(counts, key=lambda label: (-counts[label], label))
        return value([_choosing(one, min(commonest, len(one.scores) - 1)) for one in chosen])
    written = [outcome for outcome in outcomes if isinstance(outcome, Written)]
    answers = Counter(one.question.item.references[0] for one in written if one.question.item.references)
    if not answers or len(written) < len(outcomes):
        return None
    answer = min(answers, key=lambda text: (-answers[text], text))
    return value([replace(one, texts=(answer,) * len(one.texts)) for one in written])


def _choosing(outcome: Chosen, option: int) -> Chosen:
    return _scored(outcome, [float(n == option) for n in range(len(outcome.scores))])


def _scored(outcome: Chosen, scores: Sequence[float]) -> Chosen:
    return replace(outcome, scores=tuple(scores), log_probs=tuple(scores))
