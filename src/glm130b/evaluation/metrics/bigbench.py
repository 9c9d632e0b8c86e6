"""BIG-bench's scores: of options, of free text, and as a share of the way from a poor to the best score."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np

from glm130b.evaluation.items import Chosen, Unit, Written
from glm130b.evaluation.metrics.metric import Floats, Metric, ratio, unit_of
from glm130b.evaluation.metrics.rouge import rouge_l, rouge_n


def cut_output(text: str, stop_string: str | None, output_regex: str | None) -> str:
    """What of an output counts, as BIG-bench's own code cuts it: up to the stop string, then the first match.

    A stop string at the very beginning does not count. Without a match nothing is left.
    """
    if stop_string and text.find(stop_string) > 0:
        text = text[: text.find(stop_string) + len(stop_string)]
    if output_regex:
        found = re.search(output_regex, text)
        text = (found[1] if found.re.groups else found[0]) or "" if found else ""
    return text


def text_score(score: str, answer: str, references: Sequence[str]) -> float:
    """The best score over references, 0 to 1.

    ``exact_str_match`` compares without white space at the ends. ROUGE is the F-measure of plain lower-case words;
    ``rougeLsum`` takes an answer for one sentence, which answers cut at a line end are.
    """
    if score == "exact_str_match":
        return float(any(answer.strip() == reference.strip() for reference in references))
    words, *others = (re.findall("[a-z0-9]+", text.lower()) for text in (answer, *references))
    if score == "rougeLsum":
        return max(rouge_l(words, other) for other in others)
    return max(rouge_n(words, other, int(score.removeprefix("rouge"))) for other in others)


def _score(outcome: Chosen | Written) -> float:
    fields = outcome.question.item.fields
    if isinstance(outcome, Chosen):
        return float(fields["target_scores"][outcome.choice])
    answer = cut_output(outcome.texts[0], fields["stop_string"], fields["output_regex"])
    return text_score(fields["score"], answer, outcome.question.item.references)


def _plain(outcomes: Sequence[Chosen | Written]) -> list[Unit]:
    return [unit_of(outcome, _score(outcome), 1) for outcome in outcomes]


def _with_bounds(outcomes: Sequence[Chosen | Written]) -> list[Unit]:
    bounds = ((one.question.item.fields["low"], one.question.item.fields["high"]) for one in outcomes)
    return [unit_of(one, _score(one), low, high) for one, (low, high) in zip(outcomes, bounds, strict=True)]


def _normalised(sums: Floats) -> Floats:
    """(raw − low) / (high − low), all three being means over the same items."""
    score, low, high = sums[..., 0], sums[..., 1], sums[..., 2]
    with np.errstate(invalid="ignore", divide="ignore"):
        normalised: Floats = np.where(high == low, np.nan, (score - low) / (high - low))
    return normalised


METRICS = [
    Metric("multiple_choice_grade", "multiple-choice grade", _plain, ratio),
    Metric("bigbench_text", "preferred score (free text)", _plain, ratio),
    Metric("bigbench_normalised", "normalised preferred score", _with_bounds, _normalised, bounds=(-math.inf, 1.0)),
]
