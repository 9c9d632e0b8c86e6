"""Learning rate and batch size as pure functions of the samples consumed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from glm130b.config import RunConfig


@dataclass(frozen=True)
class Schedule:
    """The schedules of one run, in absolute samples."""

    total: int
    peak: float
    initial: float
    minimum: float
    warmup: int
    decay: int
    batch_start: int
    batch_end: int
    batch_increment: int
    batch_ramp: int

    @classmethod
    def of(cls, config: RunConfig) -> Schedule:
        """The schedules a configuration asks for."""
        total, length = config.total_samples, config.data.seq_length
        rate, batch = config.train.learning_rate, config.train.batch
        return cls(
            total=total,
            peak=rate.peak,
            initial=rate.initial,
            minimum=rate.minimum,
            warmup=rate.warmup.samples(total=total, seq_length=length),
            decay=rate.decay.samples(total=total, seq_length=length),
            batch_start=batch.start or batch.end,
            batch_end=batch.end,
            batch_increment=batch.increment,
            batch_ramp=batch.ramp.samples(total=total, seq_length=length),
        )

    def learning_rate(self, samples: int) -> float:
        """Linear from ``initial`` to ``peak``, cosine to ``minimum``, then constant."""
        if samples < self.warmup:
            return self.initial + (self.peak - self.initial) * samples / self.warmup
        if samples >= self.decay:
            return self.minimum
        share = (samples - self.warmup) / (self.decay - self.warmup)
        return self.minimum + (self.peak - self.minimum) * 0.5 * (1.0 + math.cos(math.pi * share))

    def batch_size(self, samples: int) -> int:
        """Sequences in the step that starts after ``samples``: equal stretches at each size of the ramp."""
        size = self.batch_end
        if samples <= self.batch_ramp and self.batch_start < self.batch_end:
            increments = (self.batch_end - self.batch_start) // self.batch_increment
            step = int(samples / (self.batch_ramp / increments)) if self.batch_ramp else increments
            size = min(self.batch_end, self.batch_start + step * self.batch_increment)
        return min(size, self.total - samples)

    def steps(self, samples: int = 0) -> Iterator[tuple[int, int]]:
        """Samples consumed before each step still to come, and that step's batch size."""
        while samples < self.total:
            size = self.batch_size(samples)
            yield samples, size
            samples += size
