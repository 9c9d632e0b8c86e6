"""Runs in miniature for tests of checkpoints: parameters dealt to ranks by hand, and AdamW over them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from glm130b.config import RunConfig
from glm130b.corpus import PreparedCorpus
from glm130b.model import Region, build_model
from glm130b.parallel import Held, World
from glm130b.samples import TrainingData, open_training_data
from glm130b.tokenization import Tokenizer
from glm130b.training.checkpoint import load_checkpoint
from glm130b.training.checkpoint_writer import CheckpointWriter
from glm130b.training.progress import Progress

EMBEDDING = "word_embeddings.weight"


@dataclass(frozen=True)
class Layout:
    """Pipeline, data and tensor ranks, tensor running fastest."""

    pp: int = 1
    dp: int = 1
    tp: int = 1

    @property
    def size(self) -> int:
        return self.pp * self.dp * self.tp

    def place(self, rank: int) -> tuple[int, int, int]:
        return rank // (self.dp * self.tp), rank // self.tp % self.dp, rank % self.tp


def tensor_regions(name: str, shape: tuple[int, ...], tp: int, size: int) -> list[Region]:
    """What tensor parallelism gives to ``tp`` of ``size``: rows, rows of either GLU half, columns, or all."""
    whole = Region.whole(shape)
    if name == EMBEDDING or "query_key_value" in name:
        return [whole.take_rows(tp * shape[0] // size, (tp + 1) * shape[0] // size)]
    if "dense_h_to_4h" in name:
        half = shape[0] // 2
        return [whole.take_rows(start + tp * half // size, start + (tp + 1) * half // size) for start in (0, half)]
    if name.endswith(("attention.dense.weight", "dense_4h_to_h.weight")):
        return [Region((0, shape[0]), (tp * shape[1] // size, (tp + 1) * shape[1] // size))]
    return [whole]


def data_regions(regions: Sequence[Region], dp: int, size: int) -> list[Region]:
    """Rows of these, dealt in equal chunks as FSDP2 deals them."""
    chunk = -(-sum(region.shape[0] for region in regions) // size)
    found, first = [], dp * chunk
    for region in regions:
        low, high = max(first, 0), min(first + chunk, region.shape[0])
        if low < high:
            found.append(region.take_rows(low, high))
        first -= region.shape[0]
    return found


def stage_of(name: str, num_layers: int, stages: int) -> tuple[int, ...]:
    """The stages that hold a parameter; the tied embedding is on both ends."""
    if name == EMBEDDING:
        return tuple(sorted({0, stages - 1}))
    if name.startswith("layers."):
        return (int(name.split(".")[1]) * stages // num_layers,)
    return (stages - 1,)


def holdings(values: dict[str, Tensor], config: RunConfig, layout: Layout, rank: int) -> list[Held]:
    """What ``rank`` holds of whole parameters, copied."""
    pp, dp, tp = layout.place(rank)
    found = []
    for name, whole in values.items():
        stages = stage_of(name, config.model.num_layers, layout.pp)
        if pp not in stages:
            continue
        shape = tuple(whole.shape)
        regions = tensor_regions(name, shape, tp, layout.tp)
        replica = tp > 0 and len(regions) == 1 and regions[0] == Region.whole(shape)
        if layout.dp > 1:
            regions = data_regions(regions, dp, layout.dp)
        rows = [whole[region.slices] for region in regions]
        local = nn.Parameter(torch.cat(rows).clone() if rows else whole[:0].clone())
        found.append(Held(name, shape, local, regions, pp == stages[0] and not replica, local))
    return found


def parameters(config: RunConfig) -> dict[str, Tensor]:
    """Whole initial parameters by name."""
    return dict(build_model(config.model, seed=config.seed).state_dict())


def adamw(held: Sequence[Held], config: RunConfig) -> torch.optim.AdamW:
    settings = config.train.optimizer
    return torch.optim.AdamW(
        [one.local for one in held],
        lr=1e-2,
        betas=settings.betas,
        eps=settings.epsilon,
        weight_decay=settings.weight_decay,
        fused=True,
    )


def update(held: Sequence[Held], optimizer: torch.optim.Optimizer, number: int) -> None:
    """One step of AdamW with gradients that depend on the number, the parameter and the place in it alone."""
    for one in held:
        generator = torch.Generator().manual_seed(1000 * number + len(one.name) + one.shape[0])
        gradient = torch.randn(one.shape, generator=generator)
        rows = [gradient[region.slices] for region in one.regions]
        one.local.grad = torch.cat(rows) if rows else torch.zeros_like(one.local)
    optimizer.step()


def tensors_of(held: Sequence[Held], optimizer: torch.optim.Optimizer) -> Iterator[tuple[str, Region, Tensor]]:
    """All rectangles of parameters and averages."""
    for one in held:
        state = optimizer.state.get(one.local, {})
        for prefix, tensor in (("", one.local), *((f"{kind}.", state[kind]) for kind in state if kind != "step")):
            for region, values in one.stretches(tensor):
                yield prefix + one.name, region, values


@dataclass
class Job:
    """One rank of a run in miniature."""

    run: Path
    config: RunConfig
    tokenizer: Tokenizer
    data: TrainingData
    world: World
    held: list[Held]
    optimizer: torch.optim.AdamW
    progress: Progress = field(default_factory=Progress)

    @classmethod
    def begin(
        cls,
        run: Path,
        config: RunConfig,
        tokenizer: Tokenizer,
        corpus: PreparedCorpus,
        world: World | None = None,
        layout: Layout | None = None,
    ) -> Job:
        world = world or World()
        held = holdings(parameters(config), config, layout or Layout(), world.rank)
        data = open_training_data(config, corpus, tokenizer)
        return cls(run, config, tokenizer, data, world, held, adamw(held, config))

    def advance(self, updates: int) -> None:
        for _ in range(updates):
            update(self.held, self.optimizer, self.progress.step)
            self.progress = self.progress.after(4, applied=True)

    def writer(self) -> CheckpointWriter:
        return CheckpointWriter(self.run, self.config, self.tokenizer, self.data, self.world)

    def save(self, **extra: Any) -> Path:
        writer = self.writer()
        writer.save(self.held, self.optimizer, self.progress, extra)
        path = writer.wait()
        assert path is not None
        return path

    def load(self, path: Path, **changed: Any) -> dict[str, Any]:
        job = replace(self, **changed)
        self.progress, extra = load_checkpoint(
            path, job.held, job.optimizer, job.config, job.data, job.tokenizer, job.world
        )
        return extra
