"""Sequences to tensors, with the weight of every target in the loss of the step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from glm130b.planning import Work
from glm130b.samples import NO_TARGET, PADDING
from glm130b.samples import Sequence as PackedSequence


@dataclass(frozen=True)
class MicroBatch:
    """What one forward pass takes: B sequences of S tokens with at most T targets; see ``parallel.Stage``.

    Attributes:
        tokens: int64 ``[B, S]``.
        arguments: ``position_ids``, ``sample`` and ``branch``, int64 ``[B, S]``; ``seeds`` of dropout, int64 ``[B]``;
            ``counts``, targets of each sequence, int64 ``[B]`` on the CPU; ``rows`` and ``targets``, their places and
            ids, int64 ``[B, T]``, and their ``weights``, FP32 ``[B, T]``.
    """

    tokens: Tensor
    arguments: dict[str, Tensor]


@dataclass(frozen=True)
class Weighting:
    """How much a target weighs in the loss of a step.

    Attributes:
        num_sequences: of the whole step; every sequence weighs the same, and its targets among themselves.
        num_targets: of the whole step, if every target is to weigh the same instead.
        scale: multiplies all of it.
    """

    num_sequences: int
    num_targets: int | None = None
    scale: float = 1.0

    def of(self, count: int) -> float:
        """The weight of each of the ``count`` targets of a sequence."""
        if self.num_targets is not None:
            return self.scale / self.num_targets
        return self.scale / (max(count, 1) * self.num_sequences)


def micro_batches(
    sequences: Sequence[PackedSequence],
    seeds: Sequence[int],
    weighting: Weighting,
    *,
    sizes: Sequence[int],
    seq_length: int,
    same_shape: bool = False,
    device: torch.device | str = "cpu",
) -> list[MicroBatch]:
    """Cut sequences into micro-batches of ``sizes``, filled up with empty sequences where they do not suffice.

    Args:
        seeds: of dropout, one for each sequence.
        same_shape: give all micro-batches the same T, so that they can be joined.
    """
    width = max((sequence.num_targets for sequence in sequences), default=0) if same_shape else None
    missing = sum(sizes) - len(sequences)
    filled = [*sequences, *[empty_sequence(seq_length)] * missing]
    all_seeds = [*seeds, *[0] * missing]
    batches, start = [], 0
    for size in sizes:
        part = slice(start, start + size)
        batches.append(_micro_batch(filled[part], all_seeds[part], weighting, width, device))
        start += size
    return batches


def _micro_batch(
    sequences: Sequence[PackedSequence],
    seeds: Sequence[int],
    weighting: Weighting,
    width: int | None,
    device: torch.device | str,
) -> MicroBatch:
    places = [np.flatnonzero(sequence.targets != NO_TARGET) for sequence in sequences]
    counts = [len(place) for place in places]
    shape = (len(sequences), max(counts) if width is None else width)
    rows, targets = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    weights = np.zeros(shape, dtype=np.float32)
    for n, (sequence, place) in enumerate(zip(sequences, places, strict=True)):
        rows[n, : len(place)] = place
        targets[n, : len(place)] = sequence.targets[place]
        weights[n, : len(place)] = weighting.of(len(place))

    def stacked(name: str) -> Tensor:
        return torch.from_numpy(np.stack([getattr(sequence, name) for sequence in sequences])).to(device)

    return MicroBatch(
        stacked("tokens"),
        {
            **{name: stacked(name) for name in ("position_ids", "sample", "branch")},
            "seeds": torch.tensor(seeds, dtype=torch.int64).to(device),
            "counts": torch.tensor(counts, dtype=torch.int64),
            "rows": torch.from_numpy(rows).to(device),
            "targets": torch.from_numpy(targets).to(device),
            "weights": torch.from_numpy(weights).to(device),
        },
    )


def empty_sequence(seq_length: int) -> PackedSequence:
    """A sequence of padding, which costs time and changes nothing."""
    zeros = np.zeros(seq_length, dtype=np.int64)
    return PackedSequence(zeros, zeros, np.full_like(zeros, PADDING), zeros, np.full_like(zeros, NO_TARGET))


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
