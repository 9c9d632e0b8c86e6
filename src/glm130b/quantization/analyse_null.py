"""What absmax quantisation would lose of weights that are independent draws from one normal distribution.

The wider a row, the larger its largest weight and the coarser its steps: the null against which matrices are read.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from glm130b.model import Bits

_LARGEST: dict[int, int] = {8: 127, 4: 7}
_NODES = 4096


@dataclass(frozen=True)
class GaussianNull:
    """Of rows, or groups, of so many values.

    Attributes:
        error: root of the mean squared difference over the root of the mean square.
        peak: mean of the largest magnitude, in standard deviations.
    """

    error: float
    peak: float


@cache
def gaussian_null(width: int, bits: Bits) -> GaussianNull:
    """By numerical integration, to about four digits; FP16 rounding is left out.

    The largest of ``width`` magnitudes is below m with probability (2 Phi(m) - 1)^width and is itself met exactly. The
    others are normal within -m … m, and each is off by its distance to the next multiple of m / q, q = 7 or 127.
    """
    chance = (torch.arange(_NODES, dtype=torch.float64) + 0.5) / _NODES
    peaks = torch.special.ndtri((1 + chance ** (1 / width)) / 2)
    steps = torch.arange(-_LARGEST[bits], _LARGEST[bits] + 1, dtype=torch.float64)
    distance = peaks[:, None] / _LARGEST[bits]
    centre = steps * distance
    low = torch.maximum(centre - distance / 2, -peaks[:, None])
    high = torch.minimum(centre + distance / 2, peaks[:, None])
    squares = (_square_integral(high, centre) - _square_integral(low, centre)).sum(dim=1)
    within = 2 * torch.special.ndtr(peaks) - 1
    return GaussianNull(math.sqrt((width - 1) / width * float((squares / within).mean())), float(peaks.mean()))


def _square_integral(x: Tensor, centre: Tensor) -> Tensor:
    """An antiderivative of (x - centre)^2 times the normal density."""
    density = torch.exp(-x.square() / 2) / math.sqrt(2 * math.pi)
    found: Tensor = (1 + centre.square()) * torch.special.ndtr(x) + (2 * centre - x) * density
    return found
