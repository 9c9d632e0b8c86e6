"""A training sequence as a person can read it."""

from __future__ import annotations

import numpy as np

from glm130b.samples.blank import NO_TARGET
from glm130b.samples.sequence import Sequence
from glm130b.tokenization import Tokenizer


def describe(sequence: Sequence, tokenizer: Tokenizer) -> str:
    """Context and answers of every packed sample, with positions and counts."""
    lines: list[str] = []
    for number in range(int(sequence.sample.max()) + 1):
        inside = sequence.sample == number
        context = inside & (sequence.branch == 0)
        answer = np.flatnonzero(inside & (sequence.branch > 0))
        lines.append(f"sample {number}: {int(context.sum())} tokens of context, {len(answer)} to predict")
        lines.append(f"  context: {tokenizer.decode(sequence.tokens[context].tolist())!r}")
        starts = np.flatnonzero(sequence.tokens[answer] == tokenizer.special.sop)
        for span in np.split(answer, starts[1:]):
            first, last = sequence.position_ids[span[0]], sequence.position_ids[span[-1]]
            where = f"position {first}" if first == last else f"positions {first}-{last}"
            targets = [int(t) for t in sequence.targets[span] if t != NO_TARGET]
            lines.append(f"  {where}: {tokenizer.decode(targets)!r}")
    padding = int((sequence.sample == -1).sum())
    lines.append(f"{len(sequence.tokens)} tokens, {sequence.num_targets} targets, {padding} padding")
    return "\n".join(lines)
