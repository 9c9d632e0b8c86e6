"""Which language a text is in: by its script, and among alphabets by py3langid."""

from __future__ import annotations

import re

from glm130b.corpus.characters import HAN, HANGUL, KANA, LATIN, OTHER, count_kinds, kinds

UNKNOWN = "unknown"

_PREFIX = 1000
"""Characters that py3langid sees."""

_WORD_LETTERS = 5
"""Letters of an alphabet that weigh as much as one Han character."""

_MIN_LABELLED = 0.25
"""Share of the labelled language's script: less, and the label is not believed."""

_MIN_OTHER_ASIAN = 0.1
"""Share of kana or hangul among East Asian characters that makes a text Japanese or Korean."""

_MIN_LETTERS = 30
"""Letters below which py3langid guesses."""

_CODES = {"eng": "en", "zho": "zh", "chi": "zh", "cmn": "zh"}
_NO_LANGUAGES = {"und", "mul", "mis"}
_TAG = re.compile(r"([a-z]{2,3})(-[a-z0-9]{1,8})*")


def language_of(text: str, label: str = "") -> str:
    """``en``, ``zh``, another code such as ``fr``, or ``unknown`` if there are too few letters to tell.

    Han characters are weighed against a fifth of the letters of alphabets, since a word has about five. A text
    is Chinese if Han characters are half of that or more, Japanese or Korean if a tenth of its East Asian
    characters are kana or hangul. For other scripts py3langid decides on the first 1000 characters, if there
    are 30 letters.

    Args:
        label: what the document says, a language tag (``en``, ``zh-Hans``, ``eng_Latn``) or a name that begins
            with English or holds Chinese; anything else counts as none. ``en`` and ``zh`` are believed if at least
            a quarter of the text is in that script, another language always.
    """
    counts = count_kinds(kinds(text))
    east_asian = counts[HAN] + counts[KANA] + counts[HANGUL]
    letters = counts[LATIN] + counts[OTHER]
    weight = east_asian + letters / _WORD_LETTERS
    if not weight:
        return UNKNOWN
    named = _named(label)
    if named not in ("en", "zh", ""):
        return named
    if named == "zh" and counts[HAN] >= _MIN_LABELLED * weight:
        return named
    if named == "en" and counts[LATIN] / _WORD_LETTERS >= _MIN_LABELLED * weight:
        return named
    if 2 * east_asian < weight:
        return _identify(text) if letters >= _MIN_LETTERS else UNKNOWN
    if counts[KANA] >= _MIN_OTHER_ASIAN * east_asian:
        return "ja"
    return "ko" if counts[HANGUL] >= _MIN_OTHER_ASIAN * east_asian else "zh"


def _named(label: str) -> str:
    """The language that a label names, ``""`` if it names none; a locale's encoding does not count."""
    name = re.split("[.@]", label.strip().lower().removeprefix("__label__").replace("_", "-"))[0]
    words = re.findall("[a-z]+", name)
    if words[:1] == ["english"] or "chinese" in words:
        return "en" if words[0] == "english" else "zh"
    tag = _TAG.fullmatch(name)
    code = tag[1] if tag else ""
    return "" if code in _NO_LANGUAGES else _CODES.get(code, code)


def _identify(text: str) -> str:
    import py3langid

    language: str = py3langid.classify(text.strip()[:_PREFIX])[0]
    return language if language not in ("zh", "ja", "ko") else UNKNOWN
