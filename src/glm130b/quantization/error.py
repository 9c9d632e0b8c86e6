"""What quantising a matrix loses."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from glm130b.kernels import dequantize
from glm130b.model import Bits
from glm130b.quantization.absmax import row_blocks


@dataclass(frozen=True)
class MatrixError:
    """The distance of a matrix from its dequantised copy.

    Attributes:
        relative: Frobenius norm of the difference over that of the matrix; 0 for a matrix of zeros.
        worst_row: the same of the row for which it is largest.
        row: its number.
    """

    relative: float
    worst_row: float
    row: int


def matrix_error(weight: Tensor, integers: Tensor, scale: Tensor, bits: Bits) -> MatrixError:
    """Compare ``weight``, ``[rows, columns]`` in any floating type, with what ``quantize_rows`` made of it.

    Norms of rows are summed in FP32, those of matrices in FP64.
    """
    lost, there, worst = 0.0, 0.0, (0.0, 0)
    for block in row_blocks(weight):
        exact = weight[block].float()
        difference = dequantize(integers[block], scale[block], bits).float().sub_(exact)
        by_row = torch.linalg.vector_norm(difference, dim=1).double()
        norms = torch.linalg.vector_norm(exact, dim=1).double()
        relative = torch.where(norms == 0, 0.0, by_row / norms)
        largest, row = relative.max(dim=0)
        worst = max(worst, (float(largest), block.start + int(row)), key=lambda found: found[0])
        lost, there = lost + float(by_row.square().sum()), there + float(norms.square().sum())
    return MatrixError(math.sqrt(lost / there) if there else 0.0, *worst)


@dataclass(frozen=True)
class KindError:
    """The errors of all matrices that do the same in different layers.

    Attributes:
        kind: their name without the layer, such as ``mlp.dense_4h_to_h``.
        count: matrices.
        median, worst: of their relative errors.
        worst_name: the matrix for which it is largest.
        worst_row: largest relative error of a single row of any of them.
    """

    kind: str
    count: int
    median: float
    worst: float
    worst_name: str
    worst_row: float


def errors_by_kind(errors: Mapping[str, MatrixError]) -> list[KindError]:
    """Sum up, in the order in which the kinds first come."""
    kinds: dict[str, dict[str, MatrixError]] = {}
    for name, error in errors.items():
        kinds.setdefault(_kind(name), {})[name] = error
    found = []
    for kind, members in kinds.items():
        worst = max(members, key=lambda name: members[name].relative)
        found.append(
            KindError(
                kind,
                len(members),
                statistics.median(error.relative for error in members.values()),
                members[worst].relative,
                worst,
                max(error.worst_row for error in members.values()),
            )
        )
    return found


def _kind(name: str) -> str:
    parts = name.removesuffix(".weight").split(".")
    return ".".join(parts[2:] if parts[0] == "layers" else parts)
