"""Bubble share of every pipeline schedule, with the work of a stage replaced by sleeps of known length.

Processes connected over Gloo run a tiny model through the project's own stages, pipeline and schedules. Its
layers, one to a stage, sleep equally long forward, for the gradient of their input, and for that of their
weight. Sleeping needs no core, so that four ranks on two cores are as parallel as on four machines.

The bubble is the time in which ranks wait for one another, from their common start to the end of the last,
divided by all their time. It is compared with the formula (``planning.bubble_share``), and with the same order of
actions played through at no cost but the sleeps. The last column is the stricter share of all time in which a
rank does not sleep: it holds the bookkeeping of the schedule as well.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections import Counter, deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from accounts import Accounts
from common import on_ranks
from torch import Tensor, nn

from glm130b.config import ModelConfig, ParallelConfig
from glm130b.parallel import Mesh, place_model
from glm130b.parallel.pipeline import SCHEDULES, Pipeline
from glm130b.planning import bubble_share, num_stages, padded_micro_batches
from glm130b.samples import NO_TARGET
from glm130b.samples import Sequence as PackedSequence
from glm130b.training.batch import Weighting, micro_batches
from glm130b.training.loss import linear_cross_entropy

LENGTH = 8
DURATIONS = {"F": 1.0, "I": 1.0, "W": 1.0, "B": 2.0}
"""Of PyTorch's actions: forward; backward for the input, for the weights, for both."""


class Work(torch.autograd.Function):
    """The identity, which takes its time on either way."""

    slept = 0.0

    @staticmethod
    def forward(ctx: Any, x: Tensor, forward: float, backward: float) -> Tensor:
        ctx.duration = backward
        Work.sleep(forward)
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        Work.sleep(ctx.duration)
        return grads[0], None, None

    @staticmethod
    def sleep(duration: float) -> None:
        start = time.perf_counter()
        time.sleep(duration)
        Work.slept += time.perf_counter() - start


class SleepingLayer(nn.Module):
    """A layer that sleeps forward, for the gradient of its input and for that of its weight."""

    def __init__(self, unit: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self._seconds = {kind: unit * DURATIONS[kind] for kind in "FIW"}

    def forward(self, x: Tensor, _inputs: object) -> Tensor:
        # Two paths that meet in a sum, so that either gradient can be asked for without the other.
        path = Work.apply(x, self._seconds["F"], self._seconds["I"])
        return path + Work.apply(self.weight, 0.0, self._seconds["W"])


def sleeping_pipeline(parallel: ParallelConfig, unit: float) -> Pipeline:
    """This rank's part of a pipeline of one sleeping layer a stage."""
    config = ModelConfig(
        num_layers=num_stages(parallel),
        hidden_size=8,
        num_heads=2,
        ffn_size=8,
        vocab_size=16,
        max_sequence_length=LENGTH,
    )
    placed = place_model(config, Mesh.build(parallel, torch.device("cpu")), linear_cross_entropy, seed=0)
    for stage in placed.stages:
        layers: Any = stage.model.layers
        stage.model.layers = nn.ModuleDict({name: SleepingLayer(unit) for name in layers})
    return Pipeline(placed, config, "fp32", (1, LENGTH))


def measure(pipeline: Pipeline, accounts: Accounts, count: int) -> tuple[float, float]:
    """The share of a step of ``count`` micro-batches that ranks wait, and the share that they do not sleep."""
    tokens = np.zeros(LENGTH, dtype=np.int64)
    targets = np.full_like(tokens, NO_TARGET)
    targets[-1] = 1
    sequence = PackedSequence(tokens, np.arange(LENGTH), tokens, tokens, targets)
    batches = micro_batches(
        [sequence] * count, [0] * count, Weighting(count), sizes=[1] * count, seq_length=LENGTH, same_shape=True
    )
    dist.barrier()
    Work.slept = 0.0
    accounts.take()
    accounts.switch("work")
    pipeline.run(batches, train=True)
    with accounts.running("bubble"):
        dist.barrier()
    accounts.switch("other")
    found = accounts.take()
    times = torch.tensor([found["bubble"], found["bubble"] + found["work"], Work.slept], dtype=torch.float64)
    dist.all_reduce(times)
    waited, everything, slept = times.tolist()
    return waited / everything, 1 - slept / everything


def actions_of(pipeline: Pipeline, count: int) -> list[list[tuple[int, str]]]:
    """Stage and kind (F, B, I or W, as PyTorch calls them) of each rank's actions in their order."""
    order = pipeline._schedule_of(count).pipeline_order
    return [
        [
            (action.stage_index, action.computation_type.value)
            for action in order[rank]
            if action is not None and action.computation_type.value in DURATIONS
        ]
        for rank in sorted(order)
    ]


def play(actions: Sequence[Sequence[tuple[int, str]]]) -> float:
    """Play ranks' actions through, each as soon as what it needs is there; the bubble share of the step."""
    last = max(stage for rank in actions for stage, _ in rank)
    ends: dict[tuple[int, str, int], float] = {}
    queues, free = [deque(rank) for rank in actions], [0.0] * len(actions)
    seen: Counter[tuple[int, str]] = Counter()
    while any(queues):
        before = len(ends)
        for rank, queue in enumerate(queues):
            while queue:
                stage, kind = queue[0]
                group = kind.replace("I", "B")
                number = seen[stage, group]
                needed = {
                    "F": (stage - 1, "F", number) if stage else None,
                    "B": (stage + 1, "B", number) if stage < last else (stage, "F", number),
                    "W": (stage, "B", number),
                }[group]
                if needed is not None and needed not in ends:
                    break
                duration = DURATIONS[kind]
                if stage == 0 and kind in "IW":  # PyTorch leaves all of the first stage's backward pass to W
                    duration = 0.0 if kind == "I" else DURATIONS["B"]
                start = max(free[rank], ends[needed] if needed else 0.0)
                free[rank] = ends[stage, group, number] = start + duration
                seen[stage, group] += 1
                queue.popleft()
        if len(ends) == before:
            raise ValueError("the actions wait for one another")
    work = sum(DURATIONS[kind] for rank in actions for _, kind in rank)
    return 1 - work / (len(actions) * max(free))


def rank_main(options: argparse.Namespace) -> None:
    """What each rank does."""
    rows = []
    accounts = Accounts()
    accounts.watch()
    for schedule in options.schedules:
        parallel = ParallelConfig(pipeline=options.ranks, schedule=schedule)
        pipeline = sleeping_pipeline(parallel, options.milliseconds / 1000)
        counts = [n for n in options.micro_batches if padded_micro_batches(n, parallel) == n]  # others are padded
        measure(pipeline, accounts, min(counts))  # opens the connections
        for count in counts:
            waited, unslept = zip(*(measure(pipeline, accounts, count) for _ in range(options.steps)), strict=True)
            row = {
                "schedule": schedule,
                "micro_batches": count,
                "formula": bubble_share(parallel, count),
                "played": play(actions_of(pipeline, count)),
                "measured": statistics.median(waited),
                "lowest": min(waited),
                "highest": max(waited),
                "not_slept": statistics.median(unslept),
            }
            rows.append(row)
            if dist.get_rank() == 0:
                ratio = row["measured"] / row["formula"]
                cells = [f"{row[name]:.4f}" for name in ("formula", "played", "measured", "lowest", "highest")]
                print(line(schedule, count, *cells, f"{ratio:.3f}", f"{row['not_slept']:.4f}"), flush=True)
    if dist.get_rank() == 0 and options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


def line(*cells: object) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, default=4)
    parser.add_argument("--schedules", nargs="+", default=list(SCHEDULES), choices=list(SCHEDULES))
    parser.add_argument("--micro-batches", type=int, nargs="+", default=[4, 8, 16, 32])
    parser.add_argument("--milliseconds", type=float, default=200.0, help="of each of the three sleeps")
    parser.add_argument("--steps", type=int, default=3, help="measured; the median is taken")
    parser.add_argument("--dry-run", action="store_true", help="two ranks, a few milliseconds: shows that it works")
    parser.add_argument("--json", type=Path, help="also write the rows here")
    options = parser.parse_args()
    if options.dry_run:
        options.ranks, options.micro_batches, options.milliseconds, options.steps = 2, [4], 2.0, 1
    print(f"{options.ranks} ranks, sleeps of {options.milliseconds:g} ms, {options.steps} steps of each kind")
    heads = ("schedule", "micro-batches", "formula", "played through", "measured", "lowest", "highest")
    print(line(*heads, "measured ÷ formula", "not slept"))
    print(line(*["---"] * (len(heads) + 2)), flush=True)
    on_ranks(options.ranks, rank_main, options)


if __name__ == "__main__":
    main()
