"""Forward and backward passes of a step over the stages, in the order of a schedule."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.pipelining import PipelineStage
from torch.distributed.pipelining.schedules import Schedule1F1B, ScheduleInterleaved1F1B, ScheduleZBVZeroBubble

from glm130b.config import ModelConfig, PipelineSchedule
from glm130b.parallel.data import DTYPES, reduce_at_last
from glm130b.parallel.mesh import Precision
from glm130b.parallel.place import Placed
from glm130b.planning import num_stages, stages_on

SCHEDULES: dict[PipelineSchedule, Any] = {
    "1f1b": Schedule1F1B,
    "interleaved": ScheduleInterleaved1F1B,
    "zero_bubble": ScheduleZBVZeroBubble,
}


class Batch(Protocol):
    """Sequences of a step on this rank, as tensors; see ``Stage.forward``."""

    @property
    def tokens(self) -> Tensor:
        """What the first stage takes, int64 ``[B, S]``."""

    @property
    def arguments(self) -> dict[str, Tensor]:
        """What every stage takes besides."""


class Runner(Protocol):
    """Runs the micro-batches of one step."""

    def run(self, batches: Sequence[Batch], *, train: bool) -> Tensor | None:
        """Forward and, to train, backward.

        Args:
            batches: micro-batches; in a pipeline all of one shape.

        Returns:
            FP32, the share of the loss of each sequence; None on ranks of a pipeline without the last stage.
        """


class Accumulation:
    """One micro-batch after the other through the whole model."""

    def __init__(self, placed: Placed) -> None:
        self._stage, self._mesh = placed.stages[0], placed.mesh

    def run(self, batches: Sequence[Batch], *, train: bool) -> Tensor:
        """See ``Runner``."""
        self._stage.train(train)
        losses = []
        with nullcontext() if train else torch.no_grad():
            for number, batch in enumerate(batches):
                if train:
                    reduce_at_last(self._stage, self._mesh, number == len(batches) - 1)
                part = self._stage(batch.tokens, **batch.arguments)
                if train:
                    part.sum().backward()
                losses.append(part.detach())
        return torch.cat(losses)


class Pipeline:
    """Stages on several ranks, run by PyTorch's schedules.

    A schedule, and the stages with it, is laid out for a number of micro-batches; where that changes, the next
    schedule takes the place of the one before, over the same stages.
    """

    def __init__(self, placed: Placed, config: ModelConfig, precision: Precision, shape: tuple[int, int]) -> None:
        """Lay out the stages.

        Args:
            shape: sequences of a micro-batch, and tokens of a sequence.
        """
        self._placed, self._mesh = placed, placed.mesh
        self._schedule: Any = None
        self._count = 0
        parallel = placed.mesh.config
        everything = num_stages(parallel)
        B, S = shape
        local = S // parallel.tensor if parallel.sequence else S
        tokens = torch.empty(B, S, dtype=torch.int64, device="meta")
        hidden = self._hidden = torch.empty(
            B, local, config.hidden_size, dtype=DTYPES[precision], device="meta", requires_grad=True
        )
        losses = torch.empty(B, device="meta", requires_grad=True)
        self._stages = [
            PipelineStage(
                stage,
                number,
                everything,
                placed.mesh.device,
                input_args=tokens if stage.first else hidden,
                output_args=losses if stage.last else hidden,
                group=placed.mesh.pipeline_group,
            )
            for number, stage in zip(stages_on(placed.mesh.pp, parallel), placed.stages, strict=True)
        ]

    def run(self, batches: Sequence[Batch], *, train: bool) -> Tensor | None:
        """See ``Runner``."""
        for stage in self._placed.stages:
            stage.train(train)
        if not train:
            return self._evaluate(batches)
        tokens = [torch.cat([batch.tokens for batch in batches])] if self._placed.stages[0].first else []
        arguments = {name: torch.cat([batch.arguments[name] for batch in batches]) for name in batches[0].arguments}
        last = any(stage.last for stage in self._placed.stages)
        target = torch.empty(len(arguments["seeds"]), 0) if last else None  # the loss needs none
        losses: Tensor | None = self._schedule_of(len(batches)).step(*tokens, target=target, **arguments)
        return losses.detach() if last and losses is not None else None

    @torch.no_grad()
    def _evaluate(self, batches: Sequence[Batch]) -> Tensor | None:
        """Forward alone, a few micro-batches at a time.

        PyTorch's schedules can do this too, but not where two consecutive stages lie on one rank, and they leave
        the stages set up for it. A message holds up its sender's later ones until it is taken (over NCCL, on the
        GPU's stream), and where ranks have several stages these form a ring, so there are always fewer
        micro-batches under way than ranks: one at least is free to take.
        """
        room = self._mesh.config.pipeline - 1
        outputs = [x for n in range(0, len(batches), room) for x in self._forward(batches[n : n + room])]
        return torch.cat(outputs) if self._placed.stages[-1].last else None

    def _forward(self, batches: Sequence[Batch]) -> list[Tensor]:
        """What this rank's last stage makes of micro-batches, which all take every stage before any takes the next."""
        group, shape = self._mesh.pipeline_group, self._hidden
        outputs = [batch.tokens for batch in batches]
        for number, stage in zip(stages_on(self._mesh.pp, self._mesh.config), self._placed.stages, strict=True):
            before, behind = self._rank_of(number - 1), self._rank_of(number + 1)
            inputs, outputs = outputs, []
            for x, batch in zip(inputs, batches, strict=True):
                if before not in (None, self._mesh.pp):
                    x = torch.empty(shape.shape, dtype=shape.dtype, device=self._mesh.device)
                    dist.recv(x, group=group, group_src=before)
                outputs.append(stage(x, **batch.arguments))
                if behind not in (None, self._mesh.pp):
                    dist.send(outputs[-1].contiguous(), group=group, group_dst=behind)
        return outputs

    def _rank_of(self, stage: int) -> int | None:
        """The rank of the pipeline that holds a stage; None beyond the ends."""
        parallel = self._mesh.config
        return next((rank for rank in range(parallel.pipeline) if stage in stages_on(rank, parallel)), None)

    def _schedule_of(self, count: int) -> Any:
        if count != self._count:
            kind = self._mesh.config.schedule
            stages: Any = self._stages[0] if kind == "1f1b" else self._stages
            self._schedule = SCHEDULES[kind](stages, count, loss_fn=_sum, scale_grads=False)
            self._count = count
        return self._schedule


def _sum(losses: Tensor, _target: Tensor) -> Tensor:
    return losses.sum()


def make_runner(placed: Placed, config: ModelConfig, precision: Precision, shape: tuple[int, int]) -> Runner:
    """What runs the stages of this layout; ``shape`` as of ``Pipeline``."""
    if placed.mesh.config.pipeline == 1:
        return Accumulation(placed)
    return Pipeline(placed, config, precision, shape)
