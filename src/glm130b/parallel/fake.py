"""The parallel code itself on a pretended job of any size: no devices, no other processes, no values.

PyTorch's fake process group takes part in every collective and does nothing, so one process can be any rank of any
mesh, one after the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh

from glm130b.config import ParallelConfig, RunConfig
from glm130b.parallel.mesh import Mesh
from glm130b.parallel.place import place_model
from glm130b.parallel.world import World
from glm130b.planning import parameter_count


@dataclass(frozen=True)
class Share:
    """What one rank of a job would hold.

    Attributes:
        rank: its number.
        pp: its place in the pipeline.
        num_parameters: of its stages, whole, the tied embedding where it is counted.
        num_local: entries that the rank itself holds.
        num_counted: those of them that no other rank stands for.
    """

    rank: int
    pp: int
    num_parameters: int
    num_local: int
    num_counted: int


@contextmanager
def fake_mesh(config: ParallelConfig, rank: int) -> Iterator[Mesh]:
    """Be ``rank`` of a job of this layout within the block; collectives do nothing and give nothing."""
    from torch.testing._internal.distributed.fake_pg import FakeStore

    if dist.is_initialized():
        raise RuntimeError("a process that is in a job cannot pretend to be in another one")
    size = config.pipeline * config.data * config.tensor
    store: Any = FakeStore()
    dist.init_process_group("fake", store=store, rank=rank, world_size=size)
    try:
        alone = Mesh(config, torch.device("cpu"), World(rank, size))
        shape = (config.pipeline, config.data // alone.shards, alone.shards, config.tensor)
        devices = init_device_mesh("cpu", shape, mesh_dim_names=("pp", "dp_replicate", "dp_shard", "tp"))
        pp, replicate, shard, tp = devices.get_coordinate() or [0, 0, 0, 0]
        yield Mesh(config, alone.device, alone.world, devices, pp, replicate + shard, tp)
    finally:
        dist.destroy_process_group()


def share_of(config: RunConfig, rank: int) -> Share:
    """Place the model as ``rank`` would.

    Raises:
        ConfigError: the model does not divide so.
    """
    with fake_mesh(config.parallel, rank) as mesh:
        placed = place_model(
            config.model,
            mesh,
            _no_head,
            seed=config.seed,
            precision=config.train.precision,
            recompute=config.train.recompute,
            materialise=False,
        )
        return Share(
            rank=rank,
            pp=mesh.pp,
            num_parameters=sum(prod(part.shape) for part in placed.held if part.counts),
            num_local=sum(part.local.numel() for part in placed.held),
            num_counted=sum(part.local.numel() for part in placed.held if part.counts),
        )


def check_placement(config: RunConfig) -> list[Share]:
    """Place the model as the first rank of every pipeline stage would, and as the job's last rank.

    The placing checks of every parameter that what DTensor and FSDP2 leave to the rank is what it is said to hold.

    Returns:
        The shares of the first ranks, in the order of the pipeline.

    Raises:
        ConfigError: the model does not divide so.
        AssertionError: the stages together are not the model; a bug.
    """
    parallel = config.parallel
    stride = parallel.data * parallel.tensor
    shares = [share_of(config, pp * stride) for pp in range(parallel.pipeline)]
    share_of(config, parallel.pipeline * stride - 1)
    found, wanted = sum(share.num_parameters for share in shares), parameter_count(config.model)
    if found != wanted:
        raise AssertionError(f"{found} parameters were placed of {wanted}")
    return shares


def _no_head(*_arguments: Tensor) -> tuple[Tensor, Tensor]:
    raise RuntimeError("a model without values cannot be run")
