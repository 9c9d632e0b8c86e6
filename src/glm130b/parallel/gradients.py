"""What happens to gradients between the backward pass and the optimizer, over all ranks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch.distributed.tensor import DTensor

from glm130b.parallel.held import TIED, Held
from glm130b.parallel.mesh import Mesh
from glm130b.parallel.place import local_part
from glm130b.parallel.tensor import is_replicated
from glm130b.planning import num_stages, stages_on


@dataclass(frozen=True)
class Norms:
    """L2 norms of the gradient of the whole model and of its embedding, the same numbers on every rank.

    Attributes:
        finite: False if any entry on any rank is infinite or not a number.
    """

    whole: float
    embedding: float
    finite: bool


class Gradients:
    """The gradients of what a rank holds; building it is collective."""

    def __init__(self, held: Sequence[Held], mesh: Mesh) -> None:
        self._held, self._mesh = held, mesh
        self._ends = [part for part in held if part.name == TIED]
        redundant = mesh.config.tensor > 1 and not mesh.config.sequence
        self._alike = [part for part in held if redundant and is_replicated(part.name)]
        self._group = _ends_group(mesh)

    @torch.no_grad()
    def collect(self) -> None:
        """Give every ``Held.local`` the gradient that the placed model has of it; both tied ends get their sum.

        What tensor-parallel ranks hold alike gets the same gradient to the last bit, so that it stays alike.
        """
        for part in self._held:
            gradient = part.source.grad
            if isinstance(gradient, DTensor) and isinstance(part.source, DTensor):
                # That of a norm under sequence parallelism is still in parts.
                gradient = gradient.redistribute(placements=part.source.placements)
            part.local.grad = torch.zeros_like(part.local) if gradient is None else local_part(gradient)
        if self._alike:
            # Each tensor-parallel rank worked these out for itself, and compiled kernels may round differently.
            flat = torch.cat([part.local.grad.view(-1) for part in self._alike if part.local.grad is not None])
            dist.broadcast(flat, group=self._mesh.tensor_group, group_src=0)
            sizes = [part.local.numel() for part in self._alike]
            for part, values in zip(self._alike, torch.split(flat, sizes), strict=True):
                part.local.grad = values.view_as(part.local)
        if len(self._ends) == 2:
            first, second = (part.local.grad for part in self._ends)
            if first is not None and second is not None:
                second.copy_(first.add_(second))
        elif self._ends and self._group is not None:
            dist.all_reduce(self._ends[0].local.grad, group=self._group)

    @torch.no_grad()
    def norms(self, scale: float = 1.0) -> Norms:
        """Norms of the gradients divided by ``scale``; collective.

        Squares of the rows' norms are summed in FP64, in range and exact whatever the loss scale. The overflow flag
        is its own MAX reduction, so that one rank's overflow is every rank's.
        """
        device = self._mesh.device
        squares = torch.zeros(2, dtype=torch.float64, device=device)
        flag = torch.zeros(1, device=device)
        for part in self._held:
            if part.local.grad is None or not part.local.numel():
                continue
            square = torch.linalg.vector_norm(part.local.grad, dim=-1).double().square().sum()
            flag = torch.maximum(flag, (~square.isfinite()).float())
            if part.counts:
                squares[0] += square
                if part.name == TIED:
                    squares[1] += square
        if self._mesh.world.size > 1:
            dist.all_reduce(squares)
            dist.all_reduce(flag, dist.ReduceOp.MAX)
        whole, embedding = (squares.sqrt() / scale).tolist()
        return Norms(whole, embedding, flag.item() == 0)

    @torch.no_grad()
    def scale(self, factor: float) -> None:
        """Multiply every gradient by ``factor``."""
        if factor != 1.0:
            torch._foreach_mul_([part.local.grad for part in self._held if part.local.grad is not None], factor)

    def clear(self) -> None:
        """Forget all gradients."""
        for part in self._held:
            part.source.grad = part.local.grad = None


def _ends_group(mesh: Mesh) -> dist.ProcessGroup | None:
    """The two ranks of this rank's pipeline that hold the ends of the model; None if one holds both, or neither."""
    everything = num_stages(mesh.config)
    if everything == 1 or everything - 1 in stages_on(0, mesh.config):
        return None
    stride = mesh.config.data * mesh.config.tensor
    pairs: list[list[int]] = [[column, (mesh.config.pipeline - 1) * stride + column] for column in range(stride)]
    mine = None
    for pair in pairs:  # every process has to take part in making every group
        group = dist.new_group(pair)
        if mesh.world.rank in pair:
            mine = group
    return mine if isinstance(mine, dist.ProcessGroup) else None
