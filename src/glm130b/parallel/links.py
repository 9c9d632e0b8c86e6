"""Whether this process can talk with those it will have to, and how fast."""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from statistics import median

import torch
import torch.distributed as dist

from glm130b.errors import ResourceError
from glm130b.parallel.mesh import Mesh
from glm130b.parallel.world import World

AXES = {"tp": "tensor", "pp": "pipeline", "dp_shard": "data", "dp_replicate": "data"}
"""Axes of the mesh, and what the configuration calls them; from the one that talks most to the one that does least."""

_REPEATS = 5
_GPU_BYTES, _CPU_BYTES = 1 << 26, 1 << 20
_SLOW = 0.5


@dataclass(frozen=True)
class Link:
    """The groups of ranks along one axis of the mesh, in all-reduces of all of them at once.

    Attributes:
        axis: ``tensor``, ``pipeline`` or ``data``.
        size: ranks of a group.
        seconds: of an all-reduce of one number; the median over the groups.
        bandwidth: in bytes/s; of an all-reduce of n ranks, 2 (n - 1) / n of its bytes pass over each rank's link.
        slowest: ranks of the slowest group.
        hosts: of these, each once.
        slowest_bandwidth: of this group, in bytes/s.
    """

    axis: str
    size: int
    seconds: float
    bandwidth: float
    slowest: tuple[int, ...]
    hosts: tuple[str, ...]
    slowest_bandwidth: float

    def __str__(self) -> str:
        text = (
            f"{self.axis} ({self.size} ranks): {self.seconds * 1e6:,.0f} us, {self.bandwidth / 1e9:,.2f} GB/s; slowest "
            f"{self.slowest_bandwidth / 1e9:,.2f} GB/s, {_name(self.slowest, self.hosts)}"
        )
        return f"{text}: less than half of the median" if self.is_slow else text

    @property
    def is_slow(self) -> bool:
        """Whether the slowest group stands out."""
        return self.slowest_bandwidth < _SLOW * self.bandwidth


def check_links(mesh: Mesh, *, patience: timedelta = timedelta(minutes=2)) -> list[Link]:
    """Talk along every axis of the mesh that has more than one rank; collective.

    Args:
        patience: how long one all-reduce may take.

    Returns:
        The same on every rank, one for each axis.

    Raises:
        ResourceError: a group does not answer, or what it adds up is wrong; names its ranks and hosts.
    """
    if mesh.world.size == 1 or mesh.devices is None:
        return []
    hosts = mesh.world.gather(socket.gethostname())
    links = []
    for name, axis in AXES.items():
        devices = mesh.devices[name]
        if devices.size() > 1:
            group = devices.get_group()
            ranks = dist.get_process_group_ranks(group)
            who = f"{axis} link of {_name(ranks, [hosts[rank] for rank in ranks])}"
            links.append(_summary(axis, mesh.world, tuple(ranks), _measure(group, mesh.device, patience, who), hosts))
    return links


def _measure(group: dist.ProcessGroup, device: torch.device, patience: timedelta, who: str) -> tuple[float, float]:
    """Seconds of an all-reduce of one number, and bytes/s of one of many."""
    size, num_bytes = group.size(), _GPU_BYTES if device.type == "cuda" else _CPU_BYTES
    seconds = []
    for tensor in (torch.empty(1, device=device), torch.empty(num_bytes // 4, device=device)):
        taken = [_all_reduce(tensor, group, patience, who) for _ in range(1 + _REPEATS)]
        seconds.append(median(taken[1:]))
    return seconds[0], 2 * (size - 1) / size * num_bytes / seconds[1]


def _all_reduce(tensor: torch.Tensor, group: dist.ProcessGroup, patience: timedelta, who: str) -> float:
    """Seconds to add up one 1 a rank."""
    tensor.fill_(1)
    if tensor.is_cuda:
        torch.cuda.synchronize(tensor.device)
    remedy = "Look at the network between these hosts; NCCL_DEBUG=INFO and TORCH_DISTRIBUTED_DEBUG=DETAIL say more."
    started = time.perf_counter()
    try:
        work = dist.all_reduce(tensor, group=group, async_op=True)
        if work is not None:
            work.wait(patience)
        total = float(tensor[-1])
    except RuntimeError as error:
        reason, seconds = str(error).splitlines()[0].rstrip(".!"), patience.total_seconds()
        raise ResourceError(f"The {who} failed, or gave no answer for {seconds:g} s: {reason}.", remedy) from None
    taken = time.perf_counter() - started
    if total != group.size():
        raise ResourceError(f"The {who} added {group.size()} ones up to {total:g}.", remedy)
    return taken


def _summary(
    axis: str, world: World, ranks: tuple[int, ...], measured: tuple[float, float], hosts: Sequence[str]
) -> Link:
    groups: dict[tuple[int, ...], list[tuple[float, float]]] = {}
    for group, one in world.gather((ranks, measured)):
        groups.setdefault(group, []).append(one)
    seconds = [max(taken for taken, _ in found) for found in groups.values()]
    bandwidths = {group: min(speed for _, speed in found) for group, found in groups.items()}
    slowest = min(bandwidths, key=lambda group: bandwidths[group])
    return Link(
        axis=axis,
        size=len(ranks),
        seconds=median(seconds),
        bandwidth=median(bandwidths.values()),
        slowest=slowest,
        hosts=tuple(dict.fromkeys(hosts[rank] for rank in slowest)),
        slowest_bandwidth=bandwidths[slowest],
    )


def _name(ranks: Sequence[int], hosts: Sequence[str]) -> str:
    """Ranks and hosts in words."""
    shown = ", ".join(map(str, ranks[:8])) + (", ..." if len(ranks) > 8 else "")
    places = list(dict.fromkeys(hosts))
    where = ", ".join(places[:4]) + (", ..." if len(places) > 4 else "")
    return f"ranks {shown} on {where}"
