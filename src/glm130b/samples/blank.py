"""Autoregressive blank infilling: text and blanks to what the model reads and predicts.

(GLM-130B, section 2.2; details as in the authors' training code.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from glm130b.samples.spans import Integers
from glm130b.tokenization import SpecialTokens

NO_TARGET = -1


@dataclass(frozen=True)
class Sample:
    """One training sample; all arrays int64 of one length.

    Attributes:
        tokens, position_ids, branch: what the model reads.
        targets: the token to predict at each place, -1 where there is none.
    """

    tokens: Integers
    position_ids: Integers
    branch: Integers
    targets: Integers

    def __len__(self) -> int:
        return len(self.tokens)

    def cut(self, length: int) -> Sample:
        """The first ``length`` places."""
        return Sample(self.tokens[:length], self.position_ids[:length], self.branch[:length], self.targets[:length])


def mask_sample(
    text: Integers, starts: Integers, lengths: Integers, order: NDArray[np.int64], special: SpecialTokens
) -> Sample:
    """Text with each span replaced by one [MASK], then the spans in ``order``.

    Each span is read as sop and its tokens and predicts its tokens and eop; all of it carries the position
    of its [MASK]. One branch for all spans: later ones see earlier ones.

    Args:
        text: the window ``[n]``.
        starts, lengths: of the spans, ascending, with a kept token between any two.
        order: a permutation of the spans.
    """
    keep = np.ones(len(text), dtype=bool)
    context = text.copy()
    for start, length in zip(starts, lengths, strict=True):
        keep[start + 1 : start + length] = False
        context[start] = special.mask
    context = context[keep]
    blanks = np.cumsum(keep)[starts] - 1
    tokens, targets, positions = [context], [np.full(len(context), NO_TARGET)], [np.arange(len(context))]
    for span in order:
        answer = text[starts[span] : starts[span] + lengths[span]]
        tokens.append(np.concatenate(([special.sop], answer)))
        targets.append(np.concatenate((answer, [special.eop])))
        positions.append(np.full(len(answer) + 1, blanks[span]))
    branch = np.zeros(sum(len(part) for part in tokens), dtype=np.int64)
    branch[len(context) :] = 1
    return Sample(np.concatenate(tokens), np.concatenate(positions), branch, np.concatenate(targets))


def gmask_sample(text: Integers, target_length: int, special: SpecialTokens) -> Sample:
    """The text up to its last ``target_length`` tokens as context, then [gMASK], sop and those tokens.

    Positions run on throughout. There is no eop, for the text goes on.
    """
    prefix, target = text[: len(text) - target_length], text[len(text) - target_length :]
    tokens = np.concatenate((prefix, [special.gmask, special.sop], target[:-1]))
    targets = np.full(len(tokens), NO_TARGET)
    targets[len(prefix) + 1 :] = target
    branch = (np.arange(len(tokens)) > len(prefix)).astype(np.int64)
    return Sample(tokens, np.arange(len(tokens)), branch, targets)
