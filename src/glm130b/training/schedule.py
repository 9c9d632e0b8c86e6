"""Learning rate, batch size and alpha as pure functions of the samples trained on."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from glm130b.config import EmbeddingGradientShrink, RunConfig
from glm130b.errors import ConfigError


@dataclass(frozen=True)
class Move:
    """A value's linear way to another one.

    Attributes:
        at: the sample it begins at.
        over: samples it takes; 0 is a jump.
        to: the value from ``end`` on.
    """

    at: int
    over: int
    to: float

    @property
    def end(self) -> int:
        """The sample from which the new value holds."""
        return self.at + self.over


def value_at(initial: float, moves: Sequence[Move], samples: int) -> float:
    """The value at a sample, after moves that follow one another without overlap."""
    value = initial
    for move in moves:
        if samples < move.at:
            break
        if samples >= move.end:
            value = move.to
        else:
            value += (move.to - value) * (samples - move.at) / move.over
    return value


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
    alpha_initial: float = 1.0
    alpha_moves: tuple[Move, ...] = ()

    @classmethod
    def of(cls, config: RunConfig) -> Schedule:
        """The schedules a configuration asks for.

        Raises:
            ConfigError: changes of alpha are out of order or overlap.
        """
        total, length = config.total_samples, config.data.seq_length
        rate, batch = config.train.learning_rate, config.train.batch
        shrink = config.train.embedding_gradient_shrink
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
            alpha_initial=shrink.alpha,
            alpha_moves=_alpha_moves(shrink, total, length),
        )

    def learning_rate(self, samples: int) -> float:
        """Linear from ``initial`` to ``peak``, cosine to ``minimum``, then constant."""
        if samples < self.warmup:
            return self.initial + (self.peak - self.initial) * samples / self.warmup
        if samples >= self.decay:
            return self.minimum
        share = (samples - self.warmup) / (self.decay - self.warmup)
        return self.minimum + (self.peak - self.minimum) * 0.5 * (1.0 + math.cos(math.pi * share))

    def alpha(self, samples: int) -> float:
        """The share of the embedding's gradient that is kept (embedding gradient shrink)."""
        return value_at(self.alpha_initial, self.alpha_moves, samples)

    def batch_size(self, samples: int) -> int:
        """Sequences in the step that starts after ``samples``: equal stretches at each size of the ramp."""
        return min(self._ramped(samples), self.total - samples)

    def _ramped(self, samples: int) -> int:
        """The batch size as if the run had no end; never falls."""
        if samples > self.batch_ramp or self.batch_start == self.batch_end:
            return self.batch_end
        increments = (self.batch_end - self.batch_start) // self.batch_increment
        passed = int(samples / (self.batch_ramp / increments)) if self.batch_ramp else increments
        return min(self.batch_end, self.batch_start + passed * self.batch_increment)

    def steps(self, samples: int = 0) -> Iterator[tuple[int, int]]:
        """Samples trained on before each step still to come, and that step's batch size."""
        while samples < self.total:
            size = self.batch_size(samples)
            yield samples, size
            samples += size

    def steps_before(self, samples: int) -> int:
        """Number of steps that start before ``samples``, counted size by size rather than step by step."""
        steps = start = 0
        samples = min(samples, self.total)
        while start < samples:
            first, size = start, self._ramped(start)
            most = -((first - samples) // size)
            count = bisect_left(range(most), True, key=lambda n: self._ramped(first + n * size) > size)
            steps, start = steps + count, start + count * size
        return steps


def _alpha_moves(shrink: EmbeddingGradientShrink, total: int, length: int) -> tuple[Move, ...]:
    moves: list[Move] = []
    for number, change in enumerate(shrink.changes):
        at, over = (amount.samples(total=total, seq_length=length) for amount in (change.at, change.over))
        if moves and at < max(moves[-1].end, moves[-1].at + 1):
            raise ConfigError(
                f"train.embedding_gradient_shrink.changes.{number}.at is sample {at:,}, but the change before it "
                f"begins at sample {moves[-1].at:,} and ends at {moves[-1].end:,}.",
                "Put the changes in order, and each after the end of the one before it.",
            )
        moves.append(Move(at, over, change.to))
    return tuple(moves)
