"""Which layers go into which stage, and which stages onto which rank of the pipeline."""

from __future__ import annotations

from dataclasses import dataclass

from glm130b.config import ParallelConfig
from glm130b.errors import ConfigError


@dataclass(frozen=True)
class StageShape:
    """What a stage is made of: consecutive layers, and the ends of the model if it has them."""

    layers: range
    first: bool
    last: bool


def split_layers(num_layers: int, num_stages: int) -> list[range]:
    """Consecutive layers of each stage, the embedding at either end counting as one layer.

    Layers are dealt one by one to the stage with the least to do. 70 layers on 8 stages become
    8 + 9 x 6 + 8 (GLM-130B, section 2.3).

    Raises:
        ConfigError: a stage would have no layer.
    """
    if num_stages > num_layers:
        raise ConfigError(
            f"{num_layers} layers cannot be cut into {num_stages} pipeline stages.",
            f"Lower parallel.pipeline (or virtual_stages) to at most {num_layers} stages.",
        )
    ends = [int(stage == 0) + int(stage == num_stages - 1) for stage in range(num_stages)]
    counts = [1] * num_stages
    for _ in range(num_layers - num_stages):
        stage = min(range(num_stages), key=lambda n: (counts[n] + ends[n], counts[n], n))
        counts[stage] += 1
    first = 0
    layers = []
    for count in counts:
        layers.append(range(first, first + count))
        first += count
    return layers


def num_stages(parallel: ParallelConfig) -> int:
    """Stages of the whole pipeline."""
    if parallel.pipeline == 1:
        return 1
    return parallel.pipeline * {"1f1b": 1, "interleaved": parallel.virtual_stages, "zero_bubble": 2}[parallel.schedule]


def stages_on(rank: int, parallel: ParallelConfig) -> list[int]:
    """The stages that a rank of the pipeline holds, in order: round and round, or down and up again (ZB-V)."""
    everything = num_stages(parallel)
    if parallel.schedule == "zero_bubble" and everything > 1:
        return [rank, everything - 1 - rank]
    return list(range(rank, everything, parallel.pipeline))


def padded_micro_batches(count: int, parallel: ParallelConfig) -> int:
    """The least number of micro-batches, ``count`` or more, that PyTorch's schedule of this name can run."""
    if parallel.pipeline == 1:
        return count
    if parallel.schedule != "interleaved":
        return max(count, num_stages(parallel))
    ranks = parallel.pipeline  # Interleaving deals micro-batches in equal rounds of about as many as there are ranks.
    return next(more for more in range(max(count, ranks), count + 2 * ranks) if more % (more // ranks) == 0)


def stage_shapes(num_layers: int, parallel: ParallelConfig) -> list[StageShape]:
    """Every stage of the pipeline, in order.

    Raises:
        ConfigError: a stage would have no layer.
    """
    parts = split_layers(num_layers, num_stages(parallel))
    return [StageShape(layers, layers.start == 0, layers.stop == num_layers) for layers in parts]
