"""Lists of triples as one line of text, and back.

``( head ; relation ; tail ) ( head ; relation ; tail )``, as DeepStruct (arXiv:2205.10475) writes them; nothing
found is ``none``. Brackets and semicolons inside a part need no care as long as they touch other characters. A
word that is nothing but ``(``, ``)`` or ``;`` is written with a backslash before it, as is a word that is one of
these with backslashes before it, so that every line can be read back.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

NONE = "none"
Triple = tuple[str, str, str]

_MARK = re.compile(r"\\*[();]")


def format_triples(triples: Iterable[Triple]) -> str:
    """Write triples in the order given, each once; runs of blanks inside a part become one."""
    written = ["( " + " ; ".join(map(_escape, triple)) + " )" for triple in triples]
    return " ".join(dict.fromkeys(written)) or NONE


def parse_triples(text: str) -> list[Triple]:
    """Read triples back, from a model's answer too: what is not a whole triple is passed over."""
    triples: list[Triple] = []
    parts: list[list[str]] | None = None
    for word in text.split():
        if word == "(":
            parts = [[]]
        elif parts is None:
            continue
        elif word == ";":
            parts.append([])
        elif word == ")":
            if len(parts) == 3:
                head, relation, tail = (" ".join(words) for words in parts)
                triples.append((head, relation, tail))
            parts = None
        else:
            parts[-1].append(word[1:] if _MARK.fullmatch(word) else word)
    return triples


def _escape(part: str) -> str:
    return " ".join("\\" + word if _MARK.fullmatch(word) else word for word in part.split())
