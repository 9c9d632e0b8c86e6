"""Sequences to tensors, with the weight of every target in the loss of the step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from glm130b.planning import Work
from glm130b.samples import NO_TARGET
from glm130b.samples import Sequence as PackedSequence


@dataclass(frozen=True)
class MicroBatch:
    """What one forward pass takes; B sequences of S tokens, N targets.

    Attributes:
        tokens, position_ids, sample, branch: int64 ``[B, S]``.
        rows: flat places of the targets, int64 ``[N]``.
        targets: int64 ``[N]``.
        weights: FP32 ``[N]``; they sum to 1 over all micro-batches of a step.
        sequence: which of the B sequences each target belongs to, int64 ``[N]``.
    """

    tokens: Tensor
    position_ids: Tensor
    sample: Tensor
    branch: Tensor
    rows: Tensor
    targets: Tensor
    weights: Tensor
    sequence: Tensor

    @property
    def inputs(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The model's positional arguments."""
        return self.tokens, self.position_ids, self.sample, self.branch


def micro_batches(
    sequences: Sequence[PackedSequence],
    size: int,
    *,
    normalisation: Literal["sequence", "token"] = "sequence",
    device: torch.device | str = "cpu",
) -> Iterator[MicroBatch]:
    """Cut a step's sequences into micro-batches of ``size``.

    ``sequence``: each sequence weighs the same, so a target weighs 1 / (targets of its sequence *
    sequences of the step). ``token``: each target of the step weighs the same.
    """
    all_targets = sum(sequence.num_targets for sequence in sequences)
    for start in range(0, len(sequences), size):
        part = sequences[start : start + size]
        targets = np.stack([sequence.targets for sequence in part])
        has_target = targets != NO_TARGET
        counts = has_target.sum(axis=1)
        if normalisation == "token":
            weight = np.full(len(part), 1.0 / all_targets)
        else:
            weight = 1.0 / (np.maximum(counts, 1) * len(sequences))
        owner = np.repeat(np.arange(len(part)), counts)

        def stacked(name: str, part: Sequence[PackedSequence] = part) -> Tensor:
            return torch.from_numpy(np.stack([getattr(sequence, name) for sequence in part])).to(device)

        yield MicroBatch(
            tokens=stacked("tokens"),
            position_ids=stacked("position_ids"),
            sample=stacked("sample"),
            branch=stacked("branch"),
            rows=torch.from_numpy(np.flatnonzero(has_target)).to(device),
            targets=torch.from_numpy(targets[has_target]).to(device),
            weights=torch.from_numpy(weight[owner].astype(np.float32)).to(device),
            sequence=torch.from_numpy(owner).to(device),
        )


def work_of(sequences: Sequence[PackedSequence]) -> Work:
    """Tokens, visible pairs and targets of some sequences, for counting FLOPs."""
    tokens = pairs = targets = 0
    for sequence in sequences:
        targets += sequence.num_targets
        for number in range(int(sequence.sample.max()) + 1):
            branch = sequence.branch[sequence.sample == number]
            context = int((branch == 0).sum())
            tokens += len(branch)
            pairs += len(branch) * context
            pairs += sum(int(n) * (int(n) + 1) // 2 for n in np.bincount(branch)[1:])
    return Work(tokens, pairs, targets)
