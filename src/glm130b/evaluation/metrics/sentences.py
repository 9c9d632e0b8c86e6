"""Where the first sentence of a text ends."""

from __future__ import annotations

import re

_END = re.compile(r"""[.!?…]+["'”’»)\]]*(?=\s|$)|[。！？]+["'”’»）」』]*|\n""")
_ABBREVIATION = re.compile(
    r"(?i:mrs?|ms|dr|prof|st|[js]r|vs|gen|rep|sen|gov|capt|sgt|lt|col|rev|inc|ltd|corp?|co)"
    r"|(?i:jan|feb|mar|apr|aug|sept|oct|nov|dec|e\.g|i\.e|[ap]\.m|u\.[sk])"
    r"|[A-HJ-Z]"
)


def first_sentence(text: str) -> tuple[str, bool]:
    """The first sentence of a text, stripped, and whether it is complete; without an end it is the whole text.

    A sentence ends with ``.``, ``!``, ``?`` or ``…`` before white space or the end of the text, with ``。``, ``！``
    or ``？``, or with its line. A full stop after an abbreviation or an initial is none. Only what holds a letter
    or a digit is a sentence, so that leading punctuation goes with what follows it.
    """
    for end in _END.finditer(text):
        sentence = text[: end.end()].strip()
        if any(character.isalnum() for character in sentence) and not _is_abbreviated(text, end):
            return sentence, True
    return text.strip(), False


def _is_abbreviated(text: str, end: re.Match[str]) -> bool:
    if end.group() != "." or end.end() == len(text.rstrip()):
        return False
    word = text[: end.start()].split()[-1].lstrip("\"'“‘([")
    return _ABBREVIATION.fullmatch(word) is not None
