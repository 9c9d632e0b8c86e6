"""What the model reads before it answers one blank."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from glm130b.tokenization import SpecialTokens


@dataclass(frozen=True)
class Row:
    """One row of a batch, not padded: integers, one a token; who sees whom follows from ``branch``."""

    tokens: list[int]
    position_ids: list[int]
    branch: list[int]


@dataclass(frozen=True)
class Context(Row):
    """A text with a blank, ready to be answered; answers are branch 1.

    Attributes:
        blank: index of the blank to answer.
        repeats: whether all answer tokens carry the blank's position ([MASK], [sMASK]) or count on
            ([gMASK]).
    """

    blank: int
    repeats: bool

    def answer_position(self, n: int) -> int:
        """Position of the n-th answer token, from 0."""
        return self.position_ids[-1] if self.repeats else self.position_ids[-1] + 1 + n


def pad_rows(rows: Sequence[Row], *, multiple: int = 32, device: torch.device | str = "cpu") -> Tensor:
    """Rows padded on the right to one length, the longest one's rounded up to a multiple.

    Returns:
        int64 ``[4, B, S]``: the model's ``tokens, position_ids, sample, branch``. Padding is token 0 at
        position 0, sample -1.
    """
    length = -(-max(len(row.tokens) for row in rows) // multiple) * multiple
    columns = torch.zeros(4, len(rows), length, dtype=torch.long)
    columns[2] = -1
    for n, row in enumerate(rows):
        columns[:, n, : len(row.tokens)] = torch.tensor(
            [row.tokens, row.position_ids, [0] * len(row.tokens), row.branch], dtype=torch.long
        )
    return columns.to(device)


def blanks_in_order(ids: Sequence[int], special: SpecialTokens) -> list[int]:
    """Indices of the blanks in the order to fill them: every [MASK], then every [sMASK], then every [gMASK]."""
    kinds = (special.mask, special.smask, special.gmask)
    return [place for kind in kinds for place, token in enumerate(ids) if token == kind]


def make_context(
    ids: Sequence[int], special: SpecialTokens, *, blank: int | None = None, append_eos: bool = False
) -> Context:
    """Prepare a text for answering one blank, as the authors' interactive program does.

    The text sees all of itself and nothing after it; sop and the answer are causal.

    Args:
        ids: the text; may hold blanks.
        blank: index of the one to answer; default the first of ``blanks_in_order``. Without any, [gMASK] is
            appended.
        append_eos: end a text that does not end in a blank with eos, as their program does. Their
            pre-training samples have no such token, nor have ours.
    """
    tokens = list(ids)
    if blank is None:
        blank = next(iter(blanks_in_order(tokens, special)), None)
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
