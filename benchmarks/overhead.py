"""What the parallel code path costs one process: ``Trainer.step`` against a plain loop written here.

The plain loop is what anyone would write for one device: the model, AdamW, clipping, the same loss. Both train
the same model from the same values on the same sequences, so that their losses must be equal. Steps alternate,
and so does who goes first. Reported are the medians over the rounds of each round's ratio, by the clock and by
the processor time of the whole process, which other programs on the machine distort less.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import torch
from common import SHAPES, configuration, text
from torch import Tensor

from glm130b.config import RunConfig
from glm130b.model import GLM, build_model
from glm130b.samples import NO_TARGET, SampleStream
from glm130b.samples import Sequence as PackedSequence
from glm130b.training import Schedule, Trainer, keep_freed_memory
from glm130b.training.loss import linear_cross_entropy

PLAIN = "train.embedding_gradient_shrink={alpha: 1}"
TARGET = 0.03
SAME = 1e-6
"""Largest relative difference of losses: the trainer sums squares of gradients in FP64, ``clip_grad_norm_`` in FP32."""


class Plain:
    """A training loop for one device, FP32, without anything else."""

    def __init__(self, config: RunConfig, stream: SampleStream) -> None:
        self.config, self.stream, self.schedule = config, stream, Schedule.of(config)
        self.model: GLM = build_model(config.model, seed=config.seed)
        matrices = [p for p in self.model.parameters() if p.dim() > 1]
        vectors = [p for p in self.model.parameters() if p.dim() == 1]
        settings = config.train.optimizer
        self.optimizer = torch.optim.AdamW(
            [
                {"params": matrices, "weight_decay": settings.weight_decay},
                {"params": vectors, "weight_decay": 0.0},
            ],
            betas=settings.betas,
            eps=settings.epsilon,
            fused=True,
        )
        self.samples = 0

    def step(self) -> float:
        """Train on the next batch; its loss."""
        size, width = self.schedule.batch_size(self.samples), self.config.train.micro_batch_size
        sequences = [self.stream[number] for number in range(self.samples, self.samples + size)]
        loss = 0.0
        for start in range(0, size, width):
            part = self._loss(sequences[start : start + width], size)
            part.backward()
            loss += part.item()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.train.optimizer.clip)
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.learning_rate(self.samples)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.samples += size
        return loss

    def _loss(self, sequences: Sequence[PackedSequence], size: int) -> Tensor:
        def stacked(name: str) -> Tensor:
            return torch.from_numpy(np.stack([getattr(sequence, name) for sequence in sequences]))

        hidden = self.model.hidden_states(*map(stacked, ("tokens", "position_ids", "sample", "branch")))
        targets = stacked("targets").flatten()
        rows = torch.nonzero(targets != NO_TARGET)[:, 0]
        counts = torch.tensor([sequence.num_targets for sequence in sequences])
        weights = torch.repeat_interleave(1 / (counts * size), counts)
        total, _ = linear_cross_entropy(
            hidden.flatten(0, 1)[rows], self.model.word_embeddings.weight, targets[rows], weights
        )
        return total


def timed(step: Callable[[], float]) -> tuple[float, float, float]:
    """What a step returns, and its seconds by the clock and of processor time."""
    start, used = time.perf_counter(), time.process_time()
    loss = step()
    return loss, time.perf_counter() - start, time.process_time() - used


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=list(SHAPES), default="20m")
    parser.add_argument("--length", type=int, default=512, help="of a sequence")
    parser.add_argument("--sequences", type=int, default=4, help="of each step")
    parser.add_argument("--micro-batch", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--dry-run", action="store_true", help="the same code on a tiny model, for two rounds")
    parser.add_argument("--json", type=Path, help="also write every round here")
    options = parser.parse_args()
    if options.dry_run:
        options.shape, options.length, options.rounds = "dry", 64, 2
    keep_freed_memory()
    rounds: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        config = configuration(options.shape, options.length, options.sequences, options.micro_batch, PLAIN)
        with closing(Trainer(config, *text(Path(folder)), torch.device("cpu"))) as trainer:
            plain = Plain(config, trainer.stream)
            contestants: list[tuple[str, Callable[[], float]]] = [
                ("plain", plain.step),
                ("trainer", lambda: trainer.step()["loss"]),
            ]
            for number in range(options.rounds + 1):
                found = {name: timed(step) for name, step in contestants}
                contestants.reverse()
                difference = abs(found["trainer"][0] / found["plain"][0] - 1)
                if not difference <= SAME:
                    sys.exit(f"Step {number}: losses {found['trainer'][0]} and {found['plain'][0]} are not the same.")
                if number:  # the first round warms up
                    clock, processor = (found["trainer"][n] / found["plain"][n] - 1 for n in (1, 2))
                    rounds.append({"clock": clock, "processor": processor, "difference": difference})
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {options.rounds} rounds")
    print(f"losses differ by at most {max(entry['difference'] for entry in rounds):.1e} of their size")
    for name in ("clock", "processor"):
        values = sorted(entry[name] for entry in rounds)
        low, _, high = statistics.quantiles(values, n=4) if len(values) > 1 else [values[0]] * 3
        print(
            f"overhead by the {name}: median {statistics.median(values):+.2%} "
            f"(half of the rounds between {low:+.2%} and {high:+.2%}), target {TARGET:.0%}"
        )
    if options.json:
        options.json.write_text(json.dumps(rounds, indent=1) + "\n")


if __name__ == "__main__":
    main()
