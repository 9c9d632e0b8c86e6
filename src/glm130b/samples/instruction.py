"""Instruction data: a prompt, its blank, and the answer (MIP; GLM-130B, section 2.2)."""

from __future__ import annotations

import numpy as np

from glm130b.config import ObjectiveConfig
from glm130b.samples.blank import NO_TARGET, Sample
from glm130b.samples.spans import Integers
from glm130b.tokenization import SpecialTokens

_KEPT = 0.25
"""Share of the window that the prompt keeps however long the answer is."""


def instruction_sample(
    prompt: Integers, answer: Integers, window: int, blanks: ObjectiveConfig, special: SpecialTokens
) -> Sample:
    """Prompt and mask as context, then sop and the answer, which predict the answer and eop.

    Too long for ``window``, the prompt keeps its first max(quarter of the window, what the answer leaves)
    tokens, then the answer is cut; a cut answer predicts no eop, for it goes on.

    Args:
        prompt, answer: token ids ``[m]``, ``[n]``.
        window: the longest sample.
        blanks: where the mask and the answer's positions are chosen.
    """
    room = window - 2  # the mask and sop
    prompt = prompt[: max(int(_KEPT * window), room - len(answer))]
    is_cut = len(prompt) + len(answer) > room
    answer = answer[: room - len(prompt)]
    above = blanks.instruction_gmask_above
    mask = special.gmask if above is not None and len(answer) > above else special.mask
    tokens = np.concatenate((prompt, [mask, special.sop], answer)).astype(np.int64)
    targets = np.full(len(tokens), NO_TARGET)
    place = len(prompt) + 1
    targets[place : place + len(answer)] = answer
    if not is_cut:
        targets[-1] = special.eop
    positions = np.arange(len(tokens))
    if blanks.instruction_positions == "repeated":
        positions = np.minimum(positions, len(prompt))
    branch = (np.arange(len(tokens)) > len(prompt)).astype(np.int64)
    return Sample(tokens, positions, branch, targets)
