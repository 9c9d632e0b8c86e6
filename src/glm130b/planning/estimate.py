"""What a step of a run will take, before anything runs."""

from __future__ import annotations

from dataclasses import dataclass

from glm130b.config import RunConfig
from glm130b.planning.balance import padded_micro_batches
from glm130b.planning.flops import Work, hardware_flops, stage_flops, training_flops
from glm130b.planning.memory import Memory, rank_memory, stages_of
from glm130b.planning.pipeline import bubble_share

UTILISATION = 0.45
"""Share of its peak that a device is assumed to reach while it computes: GLM-130B reached 45.5 % (134 TFLOP/s on an
A100, less bubble and imbalance)."""


@dataclass(frozen=True)
class Device:
    """A kind of GPU.

    Attributes:
        memory: bytes a program can have.
        flops: dense FP16 or BF16 products with FP32 sums, in FLOP/s, as the maker states them.
    """

    name: str
    memory: int
    flops: float


DEVICES = (
    Device("A100 40 GB", 42_300_000_000, 312e12),
    Device("A100 80 GB", 84_900_000_000, 312e12),
    Device("H100 80 GB", 84_900_000_000, 989e12),
    Device("H200 141 GB", 150_000_000_000, 989e12),
)


@dataclass(frozen=True)
class Step:
    """A step of one batch size.

    Attributes:
        batch_size: sequences.
        num_micro_batches: that each data-parallel rank runs, padding included.
        padding: share of the sequences run that are empty.
        bubble: share of the time in which a rank of the pipeline waits.
        model_flops, hardware_flops: at most, without and with recomputation; without padding.
    """

    batch_size: int
    num_micro_batches: int
    padding: float
    bubble: float
    model_flops: int
    hardware_flops: int

    @classmethod
    def of(cls, config: RunConfig, batch_size: int) -> Step:
        """A step of so many sequences."""
        work = Work.full(batch_size, config.data.seq_length)
        count = num_micro_batches(config, batch_size)
        return cls(
            batch_size=batch_size,
            num_micro_batches=count,
            padding=1 - batch_size / (config.parallel.data * _sequences_of_a_rank(config, batch_size)),
            bubble=bubble_share(config.parallel, count),
            model_flops=training_flops(config.model, work),
            hardware_flops=hardware_flops(config.model, work, config.train.recompute),
        )


def num_micro_batches(config: RunConfig, batch_size: int) -> int:
    """Micro-batches that each data-parallel rank runs for a batch, padding included."""
    most = -(-batch_size // config.parallel.data)
    return padded_micro_batches(-(-most // config.train.micro_batch_size), config.parallel)


def step_seconds(config: RunConfig, batch_size: int, flops: float, utilisation: float = UTILISATION) -> float:
    """How long a step takes if the slowest rank of the pipeline computes at this share of its peak while it is busy.

    Communication between data-parallel ranks, loading and saving are taken to be hidden.

    Args:
        flops: peak of a device, in FLOP/s.
    """
    work = Work.full(1, config.data.seq_length)
    sequence = max(
        sum(
            stage_flops(config.model, work, config.train.recompute, num_layers=len(stage.layers), last=stage.last)
            for stage in stages_of(config, rank)
        )
        for rank in range(config.parallel.pipeline)
    )
    busy = _sequences_of_a_rank(config, batch_size) * sequence / config.parallel.tensor / (flops * utilisation)
    return busy / (1 - bubble_share(config.parallel, num_micro_batches(config, batch_size)))


def peak_memory(config: RunConfig, *, gpu: bool) -> list[Memory]:
    """The fullest moment of every rank of the pipeline, in the steps of full batch size."""
    count = num_micro_batches(config, config.train.batch.end)
    return [rank_memory(config, rank, count, gpu=gpu) for rank in range(config.parallel.pipeline)]


def _sequences_of_a_rank(config: RunConfig, batch_size: int) -> int:
    """Sequences that the fullest data-parallel rank runs; in a pipeline, empty ones that fill it up included."""
    if config.parallel.pipeline == 1:
        return -(-batch_size // config.parallel.data)
    return num_micro_batches(config, batch_size) * config.train.micro_batch_size
