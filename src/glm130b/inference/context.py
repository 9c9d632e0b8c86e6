"""What the model reads before it answers one blank."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from glm130b.tokenization import SpecialTokens


@dataclass(frozen=True)
class Context:
    """A text with a blank, up to and including sop.

    Attributes:
        tokens, position_ids, branch: one entry a token; the text is branch 0, sop is branch 1.
        blank: index of the blank to answer.
        repeats: whether all answer tokens carry the blank's position ([MASK], [sMASK]) or count on
            ([gMASK]).
    """

    tokens: list[int]
    position_ids: list[int]
    branch: list[int]
    blank: int
    repeats: bool

    def answer_position(self, n: int) -> int:
        """Position of the n-th answer token, from 0."""
        return self.position_ids[-1] if self.repeats else self.position_ids[-1] + 1 + n


def next_blank(ids: Sequence[int], special: SpecialTokens) -> int | None:
    """Index of the blank to fill next: the first [MASK], else the first [sMASK], else the first [gMASK]."""
    for kind in (special.mask, special.smask, special.gmask):
        if kind in ids:
            return list(ids).index(kind)
    return None


def make_context(ids: Sequence[int], special: SpecialTokens, *, append_eos: bool = False) -> Context:
    """Prepare a text for answering its next blank; without one, [gMASK] is appended.

    Args:
        ids: the text; may hold blanks.
        append_eos: end a text that does not end in a blank with eos, as the authors' interactive program
            does. Their pre-training samples have no such token, nor have ours.
    """
    tokens = list(ids)
    blank = next_blank(tokens, special)
    if blank is None:
        blank = len(tokens)
        tokens.append(special.gmask)
    if append_eos and tokens[-1] not in (special.mask, special.smask, special.gmask):
        tokens.append(special.eos)
    repeats = tokens[blank] != special.gmask
    length = len(tokens)
    return Context(
        tokens=[*tokens, special.sop],
        position_ids=[*range(length), blank if repeats else length],
        branch=[0] * length + [1],
        blank=blank,
        repeats=repeats,
    )
