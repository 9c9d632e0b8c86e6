"""What a pipeline's schedule costs: idle time, and activations held at once."""

from __future__ import annotations

from glm130b.config import ParallelConfig
from glm130b.planning.balance import stages_on


def bubble_share(parallel: ParallelConfig, num_micro_batches: int) -> float:
    """Share of a step's time in which a rank of the pipeline waits, its stages being equally long.

    With p ranks, m micro-batches and v stages on a rank: (p - 1) / (v m + p - 1), where v is 1 for 1F1B
    (Narayanan et al. 2021, section 2.2). For ZB-V (Qi et al. 2023, section 6) it is (p - 1) / (6 m + p - 1): if
    forward pass, gradient of the input and gradient of the weights take the same time, nothing is idle but that
    rank r begins r passes of one of its two stages after rank 0, and the step ends for all at once.

    Args:
        num_micro_batches: of each data-parallel rank in a step, padding included; see ``padded_micro_batches``.
    """
    p = parallel.pipeline
    work = {"1f1b": 1, "interleaved": parallel.virtual_stages, "zero_bubble": 6}[parallel.schedule] * num_micro_batches
    return (p - 1) / (work + p - 1)


def in_flight(parallel: ParallelConfig, rank: int, num_micro_batches: int) -> list[int]:
    """Micro-batches whose activations each stage of a rank holds when it holds most; order of ``stages_on``.

    1F1B: p - r on rank r of p. Interleaved: the passes of PyTorch's warm-up and one more. ZB-V: 2 p on every rank,
    each of half a rank's layers.
    """
    p, m = parallel.pipeline, num_micro_batches
    if p == 1:
        return [1]
    if parallel.schedule == "1f1b":
        return [min(m, p - rank)]
    if parallel.schedule == "zero_bubble":
        return [min(m, 2 * p - rank - 1), min(m, rank + 1)]
    stages = len(stages_on(rank, parallel))
    in_a_row = m // max(1, m // p)
    passes = min((stages - 1) * in_a_row + 2 * (p - 1 - rank) + 1, stages * m)
    return [sum(1 for n in range(passes) if n // in_a_row % stages == stage) for stage in range(stages)]


def waiting(parallel: ParallelConfig, rank: int, num_micro_batches: int) -> list[int]:
    """Micro-batches of each stage of a rank that have been through the gradient of the input, not of the weights.

    Only ZB-V parts the two; at the end of a step rank r has r of either stage waiting, and one under way. What was
    recomputed for them is kept until then.
    """
    if parallel.schedule != "zero_bubble" or parallel.pipeline == 1:
        return [0] * len(stages_on(rank, parallel))
    return [min(num_micro_batches, rank + 1), min(num_micro_batches, rank)]
