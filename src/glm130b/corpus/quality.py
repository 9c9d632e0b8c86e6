"""Whether a text is worth training on: rules of thumb in the tradition of Gopher, C4 and FineWeb."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from glm130b.config import FiltersConfig, QualityFilter
from glm130b.corpus.characters import BLANK, DIGIT, HAN, LATIN, OTHER, SYMBOL, count_kinds, kinds
from glm130b.corpus.units import Hashes, Units, units

STOP_WORDS = {
    "en": "the be to of and that have with a in is was for it as on are this you i he she we they his her from not "
    "or by but at my me your if will there what so all can do has had were an no when",
    "zh": "的一是不了在有我他这来上个和也子时道说出就那要以会之为其而于者与无人大中所你们她"
    "何自如此相已今将未得还去见多又更可从能但谁",
}
"""Frequent words without a meaning of their own. Chinese ones are single characters, modern and classical."""

_LONG_LINE = {"en": 30, "zh": 10}
"""Characters from which on a line counts as running text whatever it ends in."""

_BULLETS = tuple("•‣◦▪●○■□◆◇·*-–")
_ELLIPSES = ("...", "…")
_LINE_ENDS = tuple(".!?…,;:\"'’”)]。！？，、；：」』）】》")
_PHRASE = {"en": 3, "zh": 4}
_PASSAGE = {"en": 8, "zh": 10}
"""Units in a short and in a long n-gram."""

_LEAST_REPEATS = 3
_LEAST_LINES = 4
"""A phrase that stands twice, or one line of three, says nothing of a short text."""


@dataclass(frozen=True)
class _Text:
    """A text as the rules see it."""

    content: str
    units: Units
    language: str

    @cached_property
    def kinds(self) -> NDArray[np.uint8]:
        return kinds(self.content)

    @cached_property
    def counts(self) -> list[int]:
        return count_kinds(self.kinds)

    @cached_property
    def num_visible(self) -> int:
        """Characters that are not blank, at least 1."""
        return max(1, len(self.content) - self.counts[BLANK])

    @cached_property
    def lines(self) -> list[str]:
        """Without blanks around them, and without empty ones."""
        return [line for line in map(str.strip, self.content.split("\n")) if line]

    @cached_property
    def word_starts(self) -> NDArray[np.int64]:
        """Where the words begin that blanks separate."""
        is_blank = self.kinds == BLANK
        return np.flatnonzero(~is_blank & np.concatenate(([True], is_blank[:-1])))

    @cached_property
    def stop_words(self) -> NDArray[np.int64]:
        """How often each stop word occurs that does."""
        known = _stop_hashes(self.language)
        places = np.minimum(np.searchsorted(known, self.units.hashes), len(known) - 1)
        counts = np.bincount(places[known[places] == self.units.hashes])
        return counts[counts > 0]


def judge(text: str, cut: Units, language: str, filters: FiltersConfig) -> str | None:
    """The first rule that a text breaks, as a short phrase, or None.

    Args:
        text: normalised.
        cut: ``units(text)``.
        language: ``en`` or ``zh``.
    """
    thresholds: QualityFilter = filters.zh if language == "zh" else filters.en
    if not thresholds.enabled:
        return None
    seen = _Text(text, cut, language)
    for rule in RULES["zh" if language == "zh" else "en"]:
        if rule.is_broken(seen, thresholds):
            return rule.reason
    return None


@dataclass(frozen=True)
class Rule:
    """A measure of a text, and the threshold it is compared with.

    Attributes:
        reason: what is said of a text that breaks it.
        thresholds: fields of ``QualityFilter``; the name says whether it is the least or the most.
    """

    reason: str
    measure: Callable[[_Text], float]
    thresholds: tuple[str, ...]

    def is_broken(self, text: _Text, thresholds: QualityFilter) -> bool:
        """Whether the measure lies outside."""
        value = self.measure(text)
        limits = [(name, getattr(thresholds, name)) for name in self.thresholds]
        return any(value < limit if name.startswith("min") else value > limit for name, limit in limits)


def _num_words(text: _Text) -> float:
    """Words between blanks."""
    return len(text.word_starts)


def _num_han(text: _Text) -> float:
    """Han characters."""
    return text.counts[HAN]


def _lost_characters(text: _Text) -> float:
    """U+FFFD, which stands where decoding failed."""
    return text.content.count("\ufffd") / text.num_visible


def _digits(text: _Text) -> float:
    """Digits among characters."""
    return text.counts[DIGIT] / text.num_visible


def _symbols(text: _Text) -> float:
    """Characters of the Unicode categories S and C among all, after the symbol-to-word ratio of Gopher."""
    return text.counts[SYMBOL] / text.num_visible


def _mean_word_length(text: _Text) -> float:
    """Characters of a word on average (Gopher)."""
    return text.num_visible / max(1, len(text.word_starts))


def _alphabetic_words(text: _Text) -> float:
    """Words with at least one letter (Gopher)."""
    is_letter = (text.kinds >= LATIN) & (text.kinds <= OTHER)
    return float(np.logical_or.reduceat(is_letter, text.word_starts).mean()) if len(text.word_starts) else 0.0


def _different_stop_words(text: _Text) -> float:
    """Stop words that occur (Gopher)."""
    return len(text.stop_words)


def _stop_share(text: _Text) -> float:
    """Stop words among words, function characters among Han characters."""
    total = text.units.num_characters if text.language == "zh" else len(text.units)
    return int(text.stop_words.sum()) / max(1, total)


def _bullet_lines(text: _Text) -> float:
    """Lines that begin with a bullet (Gopher)."""
    return _share_of_lines(text, lambda line: line.startswith(_BULLETS))


def _ellipsis_lines(text: _Text) -> float:
    """Lines that end in an ellipsis (Gopher)."""
    return _share_of_lines(text, lambda line: line.endswith(_ELLIPSES))


def _repeated_lines(text: _Text) -> float:
    """Characters in lines that stand earlier in the text too (Gopher)."""
    total = sum(map(len, text.lines))
    return 1 - sum(map(len, set(text.lines))) / max(1, total)


def _sentences(text: _Text) -> float:
    """Characters in lines that end in punctuation (C4) or are long."""
    long = _LONG_LINE[text.language]
    found = sum(len(line) for line in text.lines if len(line) >= long or line.endswith(_LINE_ENDS))
    return found / max(1, sum(map(len, text.lines)))


def _top_phrase(text: _Text) -> float:
    """Share of the units in the most frequent short n-gram (Gopher)."""
    n = _PHRASE[text.language]
    _, repeats = _counts(text.units.ngrams(n))
    return repeats * n / len(text.units) if repeats >= _LEAST_REPEATS else 0.0


def _repeated_phrases(text: _Text) -> float:
    """Long n-grams that stand earlier in the text too (Gopher)."""
    grams = text.units.ngrams(_PASSAGE[text.language])
    different, _ = _counts(grams)
    return 1 - different / max(1, len(grams))


_COMMON_RULES = (
    Rule("lost characters", _lost_characters, ("max_lost_characters",)),
    Rule("too many digits", _digits, ("max_digit_share",)),
    Rule("too many symbols", _symbols, ("max_symbol_share",)),
    Rule("too few stop words", _different_stop_words, ("min_stop_words",)),
    Rule("too few stop words", _stop_share, ("min_stop_share",)),
    Rule("mostly bullets", _bullet_lines, ("max_bullet_lines",)),
    Rule("mostly ellipses", _ellipsis_lines, ("max_ellipsis_lines",)),
    Rule("no sentences", _sentences, ("min_sentence_share",)),
    Rule("repeated lines", _repeated_lines, ("max_repeated_lines",)),
    Rule("repeated phrase", _top_phrase, ("max_top_phrase",)),
    Rule("repeated passages", _repeated_phrases, ("max_repeated_phrases",)),
)

RULES = {
    "en": (
        Rule("too short", _num_words, ("min_words",)),
        Rule("odd word length", _mean_word_length, ("min_mean_word_length", "max_mean_word_length")),
        Rule("too few words with letters", _alphabetic_words, ("min_alphabetic_words",)),
        *_COMMON_RULES,
    ),
    "zh": (Rule("too short", _num_han, ("min_characters",)), *_COMMON_RULES),
}
"""In the order in which they are tried."""


@lru_cache(maxsize=2)
def _stop_hashes(language: str) -> Hashes:
    return np.sort(units(STOP_WORDS[language]).hashes)


def _share_of_lines(text: _Text, is_chosen: Callable[[str], bool]) -> float:
    count = len(text.lines)
    return sum(map(is_chosen, text.lines)) / count if count >= _LEAST_LINES else 0.0


def _counts(grams: Hashes) -> tuple[int, int]:
    """How many different ones there are, and how often the most frequent occurs."""
    if not len(grams):
        return 0, 0
    ordered = np.sort(grams.astype(np.uint32))
    edges = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1], [True])))
    return len(edges) - 1, int(np.diff(edges).max())
