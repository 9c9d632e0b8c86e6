"""What one rank holds of a run's parameters and optimizer state, as pieces of a checkpoint."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from glm130b.model import Piece, TensorInfo, joined
from glm130b.parallel import Held

MOMENTS = ("exp_avg", "exp_avg_sq")
"""AdamW's running averages; stored as ``<kind>.<parameter>``."""


@dataclass(frozen=True)
class Part:
    """A rectangle of a tensor, with its values.

    Attributes:
        values: a view of what the rank holds, or a copy.
        counts: whether this rank stands for it; else it is a replica of another's.
    """

    piece: Piece
    values: Tensor
    counts: bool


def weights(held: Sequence[Held]) -> list[Part]:
    """The parameters."""
    return [part for one in held for part in _parts(one, one.name, one.local)]


def moments(held: Sequence[Held], optimizer: torch.optim.Optimizer) -> list[Part]:
    """AdamW's averages; none before the first update."""
    return [
        part
        for one in held
        for kind in MOMENTS
        if (tensor := optimizer.state.get(one.local, {}).get(kind)) is not None
        for part in _parts(one, f"{kind}.{one.name}", tensor)
    ]


def counters(held: Sequence[Held], optimizer: torch.optim.Optimizer) -> list[tuple[str, float | None]]:
    """AdamW's step counter of everything that this rank holds, by parameter; None if it is lost."""
    found = [(one.name, optimizer.state.get(one.local, {}).get("step")) for one in held if one.local.numel()]
    there = [step for _, step in found if step is not None]
    values = iter(torch.stack(there).tolist() if there else [])
    return [(name, None if step is None else next(values)) for name, step in found]


def _parts(one: Held, name: str, tensor: Tensor) -> Iterator[Part]:
    whole = TensorInfo(one.shape, tensor.dtype)
    for region, values in replace(one, regions=joined(one.regions)).stretches(tensor):
        yield Part(Piece(name, whole, region), values, one.counts)


class Staging:
    """Copies in main memory of what is to be written, in buffers that are used again for the next checkpoint.

    Copying from a GPU does not wait: it is ordered before whatever changes the values next, and ``ready`` waits
    until the copies are there.
    """

    def __init__(self) -> None:
        self._buffers: dict[tuple[str, bool], Tensor] = {}
        self._copied: torch.cuda.Event | None = None

    def copy(self, parts: Sequence[Part]) -> list[Part]:
        """The same parts with values that stay as they are now, until they are copied again."""
        copies = [replace(part, values=self._copy((part.piece.key, part.counts), part.values)) for part in parts]
        if any(part.values.is_cuda for part in parts):
            self._copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._copied.record()
        return copies

    def ready(self) -> None:
        """Wait until everything is copied."""
        if self._copied is not None:
            self._copied.synchronize()

    def _copy(self, key: tuple[str, bool], values: Tensor) -> Tensor:
        buffer = self._buffers.get(key)
        if buffer is None or TensorInfo.of(buffer) != TensorInfo.of(values):
            buffer = torch.empty(values.shape, dtype=values.dtype, pin_memory=values.is_cuda)
            self._buffers[key] = buffer
        return buffer.copy_(values, non_blocking=True)
