"""Universal PropBank: predicates and arguments on dependency trees."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from glm130b.instructions.neutral import Argument, Frame, Record, spaced
from glm130b.lines import blocks, fault

_CLAUSE = frozenset(("aux", "cc", "cop", "csubj", "discourse", "expl", "mark", "nsubj", "parataxis", "vocative"))
"""Relations of what makes a clause around a phrase and is no part of the phrase (Universal Dependencies)."""


def read_propbank(path: Path) -> Iterator[Record]:
    """Universal PropBank: column 11 names a predicate's sense, then one column of arguments a predicate.

    An argument is marked on its syntactic head. Its span is the unbroken stretch around the head of what
    depends on it. If the predicate depends on it too, as in "most of them are of high quality" or "the man who
    came", the predicate's branch, its other arguments, the clause around the phrase and punctuation at the
    ends are no part of it.
    """
    for number, block in blocks(path):
        rows = [line.split("\t") for line in block if not line.startswith("#")]
        rows = [row for row in rows if re.fullmatch(r"\d+", row[0])]  # no ranges, no empty nodes
        if not rows:
            continue
        try:
            senses = [place for place, row in enumerate(rows) if len(row) > 10 and row[10] not in ("_", "")]
            if any("".join(row[11 + len(senses) :]) or len(row) < 10 + bool(senses) + len(senses) for row in rows):
                raise ValueError(f"there is not one column of arguments for each of {len(senses)} predicates")
            heads = [int(row[6]) - 1 for row in rows]
            text = spaced([row[1] for row in rows], ["SpaceAfter=No" in row[9].split("|") for row in rows])
            frames: list[Frame] = []
            for column, place in enumerate(senses, start=11):
                marked = [head for head, row in enumerate(rows) if row[column] not in ("_", "V")]
                spans = [text.span(*_span(rows, heads, head, place, marked)) for head in marked]
                roles = [rows[head][column] for head in marked]
                arguments = tuple(Argument(*span, role) for span, role in zip(spans, roles, strict=True))
                frames.append(Frame(*text.span(place, place), rows[place][10], arguments))
        except (ValueError, IndexError) as error:
            raise fault(path, number, str(error)) from None
        yield Record(text.text, predicates=tuple(frames))


def _span(rows: list[list[str]], heads: list[int], head: int, predicate: int, others: Sequence[int]) -> tuple[int, int]:
    """First and last token of the unbroken stretch around ``head`` of what belongs to the argument.

    Args:
        others: heads of all arguments of the predicate.
    """
    if head == predicate:
        return head, head
    own = _below(heads, head)
    cut = predicate in own
    if cut:
        own -= {token for other in _outside(rows, heads, head, predicate) for token in _below(heads, other)}
        own -= {token for other in others if other in own and other != head for token in _below(heads, other)}
    first = last = head
    while first - 1 in own:
        first -= 1
    while last + 1 in own:
        last += 1
    while cut and first < head and rows[first][3] == "PUNCT":
        first += 1
    while cut and last > head and rows[last][3] == "PUNCT":
        last -= 1
    return first, last


def _outside(rows: list[list[str]], heads: list[int], head: int, predicate: int) -> set[int]:
    """Dependents of ``head`` that are no part of its phrase: the predicate's branch, the clause, further clauses."""
    kinds = [row[7].partition(":")[0] for row in rows]
    branch = predicate
    while heads[branch] != head:
        branch = heads[branch]
    clauses = {heads[token] for token, kind in enumerate(kinds) if kind in ("aux", "cop", "expl", "nsubj")}
    left = _CLAUSE if kinds[branch] == "cop" else _CLAUSE | {"case"}

    def further(token: int) -> bool:
        own_verb = rows[token][3] == "VERB" != rows[head][3]
        return kinds[token] in left or (kinds[token] == "conj" and (own_verb or token in clauses))

    return {branch} | {token for token, above in enumerate(heads) if above == head and further(token)}


def _below(heads: list[int], root: int) -> set[int]:
    """A token and all that depends on it."""
    found: set[int] = set()
    more = {root}
    while more:
        found |= more
        more = {token for token, head in enumerate(heads) if head in more} - found
    return found
