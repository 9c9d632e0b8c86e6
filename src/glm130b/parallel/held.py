"""What one rank holds of each parameter: the one description that optimizer, norms and checkpoints work from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from glm130b.model import Region

TIED = "word_embeddings.weight"
"""The parameter that both ends of the model share; with pipeline parallelism either end has a copy."""


@dataclass(frozen=True)
class Held:
    """This rank's part of one parameter, seen as a plain tensor.

    Attributes:
        name: of the parameter; the official checkpoint's.
        shape: of the whole parameter.
        local: a plain leaf that shares its storage with the part that the sharded parameter holds here; the
            optimizer moves it. ``[rows]`` or ``[rows, columns]``, perhaps with no rows.
        regions: what the rows of ``local`` are, one stretch after the other.
        counts: whether this rank stands for this part in norms and checkpoints; other ranks that hold the very
            same part (and the second end of the tied embedding) are its replicas.
        source: the parameter of the placed model.
    """

    name: str
    shape: tuple[int, ...]
    local: nn.Parameter
    regions: Sequence[Region]
    counts: bool
    source: nn.Parameter

    def stretches(self, tensor: Tensor) -> list[tuple[Region, Tensor]]:
        """Cut a tensor of the shape of ``local`` into the rectangles its rows are; views."""
        sizes = [region.shape[0] for region in self.regions]
        return list(zip(self.regions, torch.split(tensor.detach(), sizes), strict=True)) if sizes else []
