"""The mesh of devices, and where this process stands in it.

Ranks are numbered with tensor parallelism running fastest, so that its ranks, which talk most, are neighbours:
``rank = (pp * data + dp) * tensor + tp``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import HashStore
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from glm130b.config import ParallelConfig
from glm130b.errors import ConfigError
from glm130b.parallel.world import World

Precision = Literal["fp32", "bf16", "fp16"]


@dataclass(frozen=True)
class Mesh:
    """Where this process stands.

    Attributes:
        config: the layout.
        device: this process's.
        world: all processes.
        devices: the mesh with axes ``pp``, ``dp_replicate``, ``dp_shard`` and ``tp``; None where one process
            needs none of it. The second and third are both data parallel: one of them is 1.
        pp, dp, tp: this process's place on each axis.
        owns_group: whether the process group was made here, for want of one.
    """

    config: ParallelConfig
    device: torch.device
    world: World
    devices: DeviceMesh | None = None
    pp: int = 0
    dp: int = 0
    tp: int = 0
    owns_group: bool = False

    @classmethod
    def build(cls, config: ParallelConfig, device: torch.device, precision: Precision = "fp32") -> Mesh:
        """Find this process's place; collective. One process alone needs no launcher.

        Raises:
            ConfigError: there are more or fewer processes than the layout asks for.
        """
        wanted = config.pipeline * config.data * config.tensor
        there = dist.get_world_size() if dist.is_initialized() else 1
        if wanted != there:
            raise ConfigError(
                f"parallel asks for {config.pipeline} x {config.data} x {config.tensor} = {wanted} processes "
                f"(pipeline x data x tensor); there {'is' if there == 1 else 'are'} {there}.",
                f"Start it with --nproc {wanted}, or change parallel.*.",
            )
        if there == 1 and precision == "fp32":
            return cls(config, device, World())
        owns_group = not dist.is_initialized()
        if owns_group:
            # Half precision keeps its FP32 masters through FSDP2, which wants a process group even of one, and
            # takes the GPU that is PyTorch's current one, whatever the mesh says.
            if device.type == "cuda" and device.index is not None:
                torch.cuda.set_device(device)
            dist.init_process_group(
                _backend(device), store=HashStore(), rank=0, world_size=1, device_id=_device_id(device)
            )
        shape = (config.pipeline, *_data_axes(config), config.tensor)
        mesh = init_device_mesh(device.type, shape, mesh_dim_names=("pp", "dp_replicate", "dp_shard", "tp"))
        pp, replicate, shard, tp = mesh.get_coordinate() or [0, 0, 0, 0]
        return cls(config, device, World.current(), mesh, pp, replicate + shard, tp, owns_group)

    def close(self) -> None:
        """Give up a process group that was made here."""
        if self.owns_group and dist.is_initialized():
            dist.destroy_process_group()

    @property
    def tensor(self) -> DeviceMesh:
        """The mesh of this process's tensor-parallel ranks."""
        return self._axis("tp")

    @property
    def data(self) -> DeviceMesh:
        """The mesh for FSDP2: one axis that shards, or two of which the first replicates (ZeRO stage 0)."""
        if self.config.zero_stage == 0 and self.config.data > 1:
            return self._axis(("dp_replicate", "dp_shard"))
        return self._axis("dp_shard")

    @property
    def shards(self) -> int:
        """Ranks among which every parameter is divided by data parallelism."""
        return _data_axes(self.config)[1]

    @property
    def tensor_group(self) -> dist.ProcessGroup | None:
        """Tensor-parallel ranks; None if this process is the only one."""
        return self.tensor.get_group() if self.config.tensor > 1 else None

    @property
    def pipeline_group(self) -> dist.ProcessGroup:
        """The ranks of this pipeline."""
        group: dist.ProcessGroup = self._axis("pp").get_group()
        return group

    @property
    def speaks(self) -> bool:
        """Whether this process stands for its data-parallel part where each part is to be counted once."""
        return self.pp == 0 and self.tp == 0

    def sum(self, values: Sequence[float]) -> list[float]:
        """Add numbers up over all processes, in FP64; collective."""
        total = torch.tensor(values, dtype=torch.float64, device=self.device)
        if self.world.size > 1:
            dist.all_reduce(total)
        result: list[float] = total.tolist()
        return result

    def _axis(self, name: Any) -> DeviceMesh:
        if self.devices is None:
            raise ValueError("a process alone has no mesh")
        return self.devices[name]


def _data_axes(config: ParallelConfig) -> tuple[int, int]:
    return (config.data, 1) if config.zero_stage == 0 else (1, config.data)


def _backend(device: torch.device) -> str:
    return "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"


def _device_id(device: torch.device) -> torch.device | None:
    if device.type != "cuda":
        return None
    return torch.device("cuda", device.index if device.index is not None else torch.cuda.current_device())
