"""Data parallelism and mixed precision, both FSDP2's: FP32 masters in shards, gathered in the run's precision."""

from __future__ import annotations

import torch
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard

from glm130b.parallel.mesh import Mesh, Precision
from glm130b.parallel.stage import Stage

DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def place_data_parallel(stage: Stage, mesh: Mesh, precision: Precision) -> None:
    """Shard a stage's parameters, gradients and optimizer state as ``parallel.zero_stage`` says.

    Gradients are reduced in FP32 and summed, not averaged: the loss is normalised over the whole batch. The
    unsharded parameters are kept between the passes of a step except at stage 3.
    """
    dtype = DTYPES[precision]
    policy = MixedPrecisionPolicy(
        param_dtype=None if dtype == torch.float32 else dtype, reduce_dtype=torch.float32, cast_forward_inputs=False
    )
    reshard = mesh.config.zero_stage == 3
    for layer in stage.layers:
        fully_shard(layer, mesh=mesh.data, mp_policy=policy, reshard_after_forward=reshard)
    fully_shard(stage, mesh=mesh.data, mp_policy=policy, reshard_after_forward=False)
    for module in sharded_modules(stage):
        module.set_gradient_divide_factor(1.0)
        module.set_force_sum_reduction_for_comms(True)  # Gloo lacks the operation that scales in passing


def sharded_modules(stage: Stage) -> list[FSDPModule]:
    """The stage's FSDP2 modules; none if it is not sharded."""
    return [module for module in stage.modules() if isinstance(module, FSDPModule)]


def reduce_at_last(stage: Stage, mesh: Mesh, last: bool) -> None:
    """Before a backward pass: what is done after it, and what only after the step's last.

    Stages 0 and 1 add up whole gradients and reduce once; 2 and 3 reduce after every pass and keep only shards.
    Gathered parameters are given up after the last pass, at stage 3 after every one.
    """
    for module in sharded_modules(stage)[:1]:
        module.set_requires_gradient_sync(last or mesh.config.zero_stage >= 2)
        module.set_reshard_after_backward(last or mesh.config.zero_stage == 3)
