"""Where a space belongs between a text and what follows it."""

from __future__ import annotations

import unicodedata


def wants_no_space(before: str) -> bool:
    """Whether a word after this text needs no space: it has one, or it is Chinese, or an opening mark or the like."""
    *_, previous, last = "", " ", *before
    if last in "\"'":
        return previous.isspace()
    opens = last in "/-" or unicodedata.category(last) in ("Ps", "Pi")
    return opens or last.isspace() or unicodedata.east_asian_width(last) in "WF"
