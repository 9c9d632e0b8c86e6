"""How well text is predicted, and LAMBADA's last word."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from glm130b.evaluation.items import Predicted, Unit, Written
from glm130b.evaluation.metrics.metric import Floats, Metric, ratio, unit_of

FEW_DOCUMENTS = 20
"""Fewer documents than these are measured window by window."""

MOST_NATS = 20.0
"""Perplexities end at e^20, as in the authors' code."""

PILE_SHARES = {
    "Pile-CC": 18.11,
    "PubMed Central": 14.40,
    "Books3": 12.07,
    "ArXiv": 8.96,
    "Github": 7.59,
    "FreeLaw": 6.12,
    "StackExchange": 5.13,
    "USPTO Backgrounds": 3.65,
    "PubMed Abstracts": 3.07,
    "Gutenberg (PG-19)": 2.17,
    "OpenSubtitles": 1.55,
    "DM Mathematics": 1.24,
    "Ubuntu IRC": 0.88,
    "HackerNews": 0.62,
    "YoutubeSubtitles": 0.60,
    "PhilPapers": 0.38,
    "NIH ExPorter": 0.30,
    "Enron Emails": 0.14,
}
"""Percent of the Pile that each of its sets makes up (Gao et al., 2020, table 1), of the 18 that the paper reports."""

_WEIGHTS = np.array(list(PILE_SHARES.values()))


def pile_average(bits_per_byte: Floats) -> Floats:
    """Mean of bits per byte by set, weighted by the set's share in the Pile; over those that are there.

    Args:
        bits_per_byte: float64 ``[..., 18]`` in the order of ``PILE_SHARES``, nan for sets that are missing.

    Returns:
        float64 ``[...]``, nan where all are missing.
    """
    there = np.isfinite(bits_per_byte)
    total, weights = np.where(there, bits_per_byte, 0.0) @ _WEIGHTS, there @ _WEIGHTS
    return ratio(np.stack([total, weights], axis=-1))


def _by_word(outcomes: Sequence[Predicted]) -> list[Unit]:
    return _stretches(outcomes, [outcome.words for outcome in outcomes])


def _by_byte(outcomes: Sequence[Predicted]) -> list[Unit]:
    return _stretches(outcomes, [outcome.bytes for outcome in outcomes])


def _stretches(outcomes: Sequence[Predicted], sizes: Sequence[int]) -> list[Unit]:
    """Documents, or of a few long ones their windows, which alone can tell how sure their sum is.

    A window gets its share of the document's words or bytes by its tokens. Windows that follow one another are taken
    for independent, which a few hundred tokens of text nearly are.
    """
    if len(outcomes) >= FEW_DOCUMENTS:
        return [unit_of(outcome, outcome.nats, size) for outcome, size in zip(outcomes, sizes, strict=True)]
    units = []
    for outcome, size in zip(outcomes, sizes, strict=True):
        whole = unit_of(outcome, outcome.nats, size)
        if len(outcome.windows) < 2:
            units.append(whole)
            continue
        for n, (nats, tokens) in enumerate(outcome.windows):
            name = f"{whole.id}@{n}"
            units.append(Unit(name, name, whole.group, (nats, size * tokens / outcome.tokens)))
    return units


def _by_set(outcomes: Sequence[Predicted]) -> list[Unit]:
    """Nats and bytes of 18 sets, two by two; documents of other sets do not count."""
    places = {name: 2 * n for n, name in enumerate(PILE_SHARES)}
    units = []
    for outcome in outcomes:
        parts = [0.0] * (2 * len(places))
        place = places.get(outcome.question.item.group)
        if place is not None:
            parts[place : place + 2] = outcome.nats, float(outcome.bytes)
            units.append(unit_of(outcome, *parts))
    return units


def _perplexity(sums: Floats) -> Floats:
    perplexities: Floats = np.exp(np.minimum(MOST_NATS, ratio(sums)))
    return perplexities


def _bits(sums: Floats) -> Floats:
    return ratio(sums) / math.log(2)


def _weighted(sums: Floats) -> Floats:
    return pile_average(_bits(sums.reshape(*sums.shape[:-1], len(PILE_SHARES), 2)))


def _last_word(outcomes: Sequence[Written]) -> list[Unit]:
    """Right if the answer's first word is the reference, letter by letter."""
    units = []
    for outcome in outcomes:
        word = outcome.texts[0].strip().split(" ")[0]
        units.append(unit_of(outcome, word in outcome.question.item.references, 1))
    return units


METRICS = [
    Metric("last_word", "accuracy (last word)", _last_word, ratio),
    Metric("word_perplexity", "perplexity per word", _by_word, _perplexity, better="lower", percent=False),
    Metric("bits_per_byte", "bits per byte", _by_byte, _bits, better="lower", percent=False),
    Metric("pile_weighted", "bits per byte, by share in the Pile", _by_set, _weighted, better="lower", percent=False),
]
