"""Porter's stemmer with the extensions of NLTK, which ROUGE's common implementation uses.

M. F. Porter, "An algorithm for suffix stripping", Program 14(3), 1980; the extensions as NLTK's documentation of
its default mode describes them. The tests hold it to NLTK's output.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

_IRREGULAR = {
    "skies": "sky",
    "sky": "sky",
    "dying": "die",
    "lying": "lie",
    "tying": "tie",
    "news": "news",
    "innings": "inning",
    "inning": "inning",
    "outings": "outing",
    "outing": "outing",
    "cannings": "canning",
    "canning": "canning",
    "howe": "howe",
    "proceed": "proceed",
    "exceed": "exceed",
    "succeed": "succeed",
}

_STEP_2 = [
    *(("ational", "ate"), ("tional", "tion"), ("enci", "ence"), ("anci", "ance"), ("izer", "ize"), ("bli", "ble")),
    *(("alli", "al"), ("entli", "ent"), ("eli", "e"), ("ousli", "ous"), ("ization", "ize"), ("ation", "ate")),
    *(("ator", "ate"), ("alism", "al"), ("iveness", "ive"), ("fulness", "ful"), ("ousness", "ous")),
    *(("aliti", "al"), ("iviti", "ive"), ("biliti", "ble"), ("fulli", "ful")),
]
_STEP_3 = [
    *(("icate", "ic"), ("ative", ""), ("alize", "al"), ("iciti", "ic"), ("ical", "ic"), ("ful", ""), ("ness", "")),
]
_STEP_4 = (
    *("al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment", "ent", "ion"),
    *("ou", "ism", "ate", "iti", "ous", "ive", "ize"),
)


@lru_cache(maxsize=100_000)
def stem(word: str) -> str:
    """The stem of a word in lower case."""
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if len(word) <= 2:
        return word
    for step in (_plural, _past, _final_y, _step_2, _step_3, _step_4, _final_e, _final_l):
        word = step(word)
    return word


def _kinds(word: str) -> str:
    """``c`` or ``v`` for each letter; y is a vowel after a consonant."""
    kinds = ""
    for n, letter in enumerate(word):
        vowel = letter in "aeiou" or (letter == "y" and n > 0 and kinds[-1] == "c")
        kinds += "v" if vowel else "c"
    return kinds


def _measure(word: str) -> int:
    """How many times vowels are followed by consonants."""
    return _kinds(word).count("vc")


def _is_short(word: str) -> bool:
    """Ends in consonant, vowel, consonant other than w, x, y; or is just vowel and consonant."""
    kinds = _kinds(word)
    return (kinds.endswith("cvc") and word[-1] not in "wxy") or kinds == "vc"


def _replaced(word: str, rules: list[tuple[str, str]], fits: Callable[[str], bool]) -> str:
    """By the first rule whose suffix the word has, if the rest fits."""
    for suffix, other in rules:
        if word.endswith(suffix):
            rest = word.removesuffix(suffix)
            return rest + other if fits(rest) else word
    return word


def _plural(word: str) -> str:
    if word.endswith("ies"):
        return word[:-1] if len(word) == 4 else word[:-2]
    return word[:-2] if word.endswith("sses") else word[:-1] if word.endswith("s") and word[-2] != "s" else word


def _past(word: str) -> str:
    if word.endswith("ied"):
        return word[:-1] if len(word) == 4 else word[:-2]
    if word.endswith("eed"):
        return word[:-1] if _measure(word[:-3]) > 0 else word
    suffix = next((suffix for suffix in ("ed", "ing") if word.endswith(suffix)), None)
    if suffix is None or "v" not in _kinds(word.removesuffix(suffix)):
        return word
    rest = word.removesuffix(suffix)
    if rest.endswith(("at", "bl", "iz")):
        return rest + "e"
    if len(rest) > 1 and rest[-1] == rest[-2] and _kinds(rest)[-1] == "c":
        return rest if rest[-1] in "lsz" else rest[:-1]
    return rest + "e" if _measure(rest) == 1 and _is_short(rest) else rest


def _final_y(word: str) -> str:
    return word[:-1] + "i" if len(word) > 2 and word.endswith("y") and _kinds(word)[-2] == "c" else word


def _step_2(word: str) -> str:
    if word.endswith("alli") and _measure(word[:-4]) > 0:
        return _step_2(word[:-2])
    if not any(word.endswith(suffix) for suffix, _ in _STEP_2) and word.endswith("logi"):
        return word[:-1] if _measure(word[:-3]) > 0 else word
    return _replaced(word, _STEP_2, lambda rest: _measure(rest) > 0)


def _step_3(word: str) -> str:
    return _replaced(word, _STEP_3, lambda rest: _measure(rest) > 0)


def _step_4(word: str) -> str:
    suffix = next((suffix for suffix in _STEP_4 if word.endswith(suffix)), None)
    if suffix is None:
        return word
    rest = word.removesuffix(suffix)
    fits = _measure(rest) > 1 and (suffix != "ion" or rest[-1] in "st")
    return rest if fits else word


def _final_e(word: str) -> str:
    rest = word[:-1]
    drops = word.endswith("e") and (_measure(rest) > 1 or (_measure(rest) == 1 and not _is_short(rest)))
    return rest if drops else word


def _final_l(word: str) -> str:
    return word[:-1] if word.endswith("ll") and _measure(word[:-1]) > 1 else word
