"""One way of writing the same text."""

from __future__ import annotations

import re
import unicodedata

_NEWLINES = re.compile("\r\n|[\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
_UNSEEN = (
    "\x00-\x08\x0e-\x1b\x1f\x7f-\x84\x86-\x9f"  # controls
    "\u00ad\u034f\u061c\u180e\u200b\u200c\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff"  # marks without width
    "\ufdd0-\ufdef\ufff0-\ufffb\ufffe\uffff"  # no characters
)
_REMOVED = re.compile(f"[{_UNSEEN}]|(?<![\u2190-\u2bff\ufe0f\U0001f000-\U0001faff])\u200d")
_TAGS = re.compile("[\U000e0000-\U000e00ff]")
_ODD = re.compile(f"[{_UNSEEN}\x0b-\x0d\x1c-\x1e\x85\u2028\u2029\u200d\u00a0]")
_ODD_ASCII = re.compile("[\x00-\x08\x0b-\x1f\x7f]")
_BLANK_ENDS = re.compile("(?<![ \\t\\u3000])[ \\t\\u3000]++(?=\\n)")
_EMPTY_LINES = re.compile("\n{3,}")


def normalise(text: str) -> str:
    """NFC, plain newlines, nothing unseen, no blanks at line ends, at most one empty line in a row.

    * every kind of line or page break becomes a newline
    * controls other than tab, soft hyphens, zero-width and direction marks, byte-order marks and code points
      that are no characters are removed; a zero-width joiner stays between emoji
    * a no-break space becomes a space
    * blanks at the ends of lines, newlines at the beginning and blanks and newlines at the end go
    * blanks at the beginning of a line, tabs and full-width spaces stay, and so does U+FFFD, which is the mark
      of a lost character and is judged with the quality of the text

    The result is a fixed point: normalising it again changes nothing.
    """
    if text.isascii():
        if _ODD_ASCII.search(text):
            text = _clean(text)
    else:
        if _ODD.search(text):
            text = _clean(text)
        text = unicodedata.normalize("NFC", _TAGS.sub("", text))
    if " \n" in text or "\t\n" in text or "\u3000\n" in text:
        text = _BLANK_ENDS.sub("", text)
    if "\n\n\n" in text:
        text = _EMPTY_LINES.sub("\n\n", text)
    return text.rstrip(" \t\n\u3000").lstrip("\n")


def _clean(text: str) -> str:
    return _REMOVED.sub("", _NEWLINES.sub("\n", text)).replace("\u00a0", " ")
