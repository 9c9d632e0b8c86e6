"""A few steps of the same run on any layout, and what became of parameters and gradients, put together again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from ranks import run_ranks
from support import small_config
from torch import Tensor

from glm130b.corpus import PreparedCorpus
from glm130b.model import Region
from glm130b.parallel import Held
from glm130b.planning import parameter_shapes
from glm130b.tokenization import Tokenizer
from glm130b.training import Record, Trainer

HARD = [
    "model.num_layers=4",
    "model.num_heads=4",
    "model.hidden_dropout=0.1",
    "model.attention_dropout=0.1",
    "train.embedding_gradient_shrink={alpha: 0.2, on_output: true}",
    "train.embedding_gradient_shrink.changes=[{at: 30 samples, over: 60 samples, to: 1}]",
    "train.batch={start: 4, end: 8, increment: 2, ramp: 15%}",
    "train.micro_batch_size=1",
]
"""Dropout, prefix masks of both objectives, both ends of the tied embedding shrunk, a ramp of batch and alpha."""

Layout = tuple[int, int, int]
"""pipeline, data, tensor."""

Pieces = list[tuple[str, Region, Tensor]]


@dataclass(frozen=True)
class Result:
    """Records of every step; gradients of the first step and parameters after the last, whole, by name."""

    records: list[Record]
    gradients: dict[str, Tensor]
    parameters: dict[str, Tensor]


def steps(
    layout: Layout, tokenizer: Tokenizer, corpus: PreparedCorpus, *overrides: str, count: int = 1, timeout: float = 240
) -> Result:
    """Take ``count`` steps on as many processes as the layout has."""
    pipeline, data, tensor = layout
    parallel = [f"parallel.pipeline={pipeline}", f"parallel.data={data}", f"parallel.tensor={tensor}"]
    config = small_config(*HARD, *parallel, *overrides).run

    def job() -> tuple[list[Record], Pieces, Pieces]:
        trainer = Trainer(config, tokenizer, corpus, torch.device("cpu"))
        gradients: Pieces = []
        clear: Any = trainer.gradients.clear

        def keep() -> None:
            if not gradients:
                gradients.extend(pieces(trainer.placed.held, gradient=True))
            clear()

        trainer.gradients.clear = keep  # type: ignore[method-assign]
        records = [trainer.step() for _ in range(count)]
        return records, gradients, pieces(trainer.placed.held)

    ranks = run_ranks(pipeline * data * tensor, job, timeout=timeout)
    for records, _, _ in ranks:
        assert [strip(record) for record in records] == [strip(record) for record in ranks[0][0]]
    shapes = parameter_shapes(config.model)
    return Result(ranks[0][0], whole([rank[1] for rank in ranks], shapes), whole([rank[2] for rank in ranks], shapes))


def strip(record: Record) -> Record:
    """A record without its times."""
    return {name: value for name, value in record.items() if "second" not in name}


def pieces(held: list[Held], *, gradient: bool = False) -> Pieces:
    """Copies of what a rank holds, replicas included."""
    found: Pieces = []
    for part in held:
        tensor = part.local.grad if gradient else part.local
        assert tensor is not None
        found += [(part.name, region, piece.clone()) for region, piece in part.stretches(tensor)]
    return found


def whole(ranks: list[Pieces], shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Whole tensors; every part has to be there, and every replica to be equal to the last bit."""
    tensors = {name: torch.full(shape, torch.nan) for name, shape in shapes.items()}
    for rank in ranks:
        for name, region, piece in rank:
            target = tensors[name][region.slices]
            assert target.isnan().all() or torch.equal(target, piece), f"replicas of {name} differ"
            target.copy_(piece)
    for name, tensor in tensors.items():
        assert not tensor.isnan().any(), f"nobody holds all of {name}"
    return tensors


def distance(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> float:
    """The largest distance of two tensors of one name, relative to their norm."""
    return max(float((ours[name] - other).norm() / other.norm().clamp(min=1e-12)) for name, other in theirs.items())
