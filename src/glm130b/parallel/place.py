"""From a configuration to the stages that this rank trains, initialised, with what it holds of each parameter."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from glm130b.config import ModelConfig, Recompute
from glm130b.model import GLM, Region, initial_value
from glm130b.parallel.data import place_data_parallel, sharded_modules
from glm130b.parallel.held import TIED, Held
from glm130b.parallel.mesh import Mesh, Precision
from glm130b.parallel.stage import Head, Stage
from glm130b.parallel.tensor import check_divides, cut, is_replicated, place_tensor_parallel
from glm130b.planning import num_stages, parameter_shapes, split_layers, stages_on


@dataclass(frozen=True)
class Placed:
    """The part of the model that this rank trains.

    Attributes:
        stages: in the order of the model.
        held: every parameter of theirs.
    """

    mesh: Mesh
    stages: list[Stage]
    held: list[Held]


def place_model(
    config: ModelConfig,
    mesh: Mesh,
    head: Head,
    *,
    seed: int,
    precision: Precision = "fp32",
    recompute: Recompute = "none",
    compile_layers: bool = False,
    materialise: bool = True,
) -> Placed:
    """Build this rank's stages.

    Every parameter starts from the seed and its own name, so that any mesh trains the same model. The order is
    tensor parallelism, compilation, data parallelism: each sees what the one before has made.

    Args:
        materialise: False leaves all parameters on the meta device, without values.

    Raises:
        ConfigError: the model does not divide so.
    """
    layers = split_layers(config.num_layers, num_stages(mesh.config))
    if mesh.config.tensor > 1:
        check_divides(config, mesh.config.tensor)
    stages = []
    for number in stages_on(mesh.pp, mesh.config):
        with torch.device("meta"):
            stage = Stage(GLM(config), layers[number], head)
        stage.model.recompute = recompute
        if mesh.config.tensor > 1:
            place_tensor_parallel(stage, mesh)
        if compile_layers:
            _compile(stage)
        if precision != "fp32" or mesh.config.data > 1:
            place_data_parallel(stage, mesh, precision)
        if materialise:
            stage.to_empty(device=mesh.device)
            for module in sharded_modules(stage):  # lets FSDP2 lay out its shards before they are looked at
                module.unshard()
                module.reshard()
        stages.append(stage)
    held = [part for stage in stages for part in _holdings(stage, config, mesh)]
    for part in held if materialise else ():
        _initialise(part, config, seed)
    return Placed(mesh, stages, held)


def _compile(stage: Stage) -> None:
    # Layers share their code but not their numbers, and each may want versions of its own: to train, to evaluate,
    # for another batch. Beyond its limits PyTorch would go on uncompiled.
    limits = torch._dynamo.config
    limits.recompile_limit = max(limits.recompile_limit, 1024)
    limits.accumulated_recompile_limit = max(limits.accumulated_recompile_limit, 1024)
    for layer in stage.layers:
        layer.compile()


def _holdings(stage: Stage, config: ModelConfig, mesh: Mesh) -> Iterator[Held]:
    shapes = parameter_shapes(config)
    for full_name, source in stage.named_parameters():
        name = full_name.removeprefix("model.")
        shape = shapes[name]
        regions = cut(name, shape, mesh.tp, mesh.config.tensor)
        if mesh.shards > 1:
            regions = shard_rows(regions, mesh.dp, mesh.shards)
        second_end = name == TIED and not stage.first
        replica = (mesh.tp > 0 and is_replicated(name)) or (mesh.shards < mesh.config.data and mesh.dp > 0)
        local = nn.Parameter(local_part(source))
        if sum(region.shape[0] for region in regions) != (local.shape[0] if local.numel() else 0):
            raise AssertionError(f"{name}: {tuple(local.shape)} is not {regions}")
        yield Held(name, shape, local, regions, not (second_end or replica), source)


def shard_rows(regions: list[Region], rank: int, size: int) -> list[Region]:
    """What FSDP2 leaves ``rank`` of ``size`` of rows that are these regions, one after the other.

    Rows are dealt in chunks of equal size rounded up, so that the last ranks may have fewer or none.
    """
    total = sum(region.shape[0] for region in regions)
    chunk = -(-total // size)
    first, last = min(rank * chunk, total), min((rank + 1) * chunk, total)
    found, start = [], 0
    for region in regions:
        stop = start + region.shape[0]
        low, high = max(first, start), min(last, stop)
        if low < high:
            found.append(region.take_rows(low - start, high - start))
        start = stop
    return found


def local_part(tensor: Tensor) -> Tensor:
    """The plain tensor that this rank holds of a DTensor; another tensor as it is. Shares the storage."""
    return tensor.to_local().detach() if isinstance(tensor, DTensor) else tensor.detach()


@torch.no_grad()
def _initialise(held: Held, config: ModelConfig, seed: int) -> None:
    if not held.regions:
        return
    value = initial_value(held.name, config, seed)
    for region, part in held.stretches(held.local):
        part.copy_(value[region.slices])
