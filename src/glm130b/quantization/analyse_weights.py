"""How a matrix's weights are distributed, and what quantising them loses."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from glm130b.errors import ModelError
from glm130b.kernels import dequantize
from glm130b.model import Bits, TensorSource, is_cut_by_columns
from glm130b.quantization.absmax import quantize_rows, row_blocks
from glm130b.quantization.analyse_null import gaussian_null
from glm130b.quantization.convert import is_quantizable

QUANTILES = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)
"""What is told of a value of each row: the least, the median, the largest, and what lies between."""

HISTOGRAM_EDGE, HISTOGRAM_BINS = 8.0, 64
"""Bins of equal width from minus to plus so many standard deviations."""


@dataclass(frozen=True)
class Grain:
    """Which weights share a scale.

    Attributes:
        columns: consecutive ones of a row; None for as many as ``shards`` leaves.
        shards: equal parts of a row of the matrices that tensor parallelism cuts by columns.
    """

    columns: int | None = None
    shards: int = 1

    def __str__(self) -> str:
        if self.columns is not None:
            return f"groups of {self.columns}"
        return "rows" if self.shards == 1 else f"rows of {self.shards} ranks"

    def num_scales(self, name: str, columns: int, bits: Bits) -> int | None:
        """Scales a row of a matrix; None if its columns do not divide so."""
        if self.columns is not None:
            scales = columns // self.columns if columns % self.columns == 0 else None
        else:
            shards = self.shards if is_cut_by_columns(name) else 1
            scales = shards if columns % shards == 0 else None
        return None if scales is None or (bits == 4 and columns // scales % 2) else scales


GRAINS = (Grain(), Grain(shards=8), Grain(128), Grain(64), Grain(32))


@dataclass(frozen=True)
class Loss:
    """What one way to quantise a matrix loses.

    Attributes:
        bits, grain: the way.
        width: weights that share a scale.
        relative: Frobenius norm of the difference over that of the matrix.
        gaussian: the same of independent normal weights.
        rows: ``QUANTILES`` of the relative error of each row.
    """

    bits: Bits
    grain: str
    width: int
    relative: float
    gaussian: float
    rows: list[float]


@dataclass(frozen=True)
class MatrixReport:
    """A matrix.

    Attributes:
        kind: its name without the layer.
        mean, std, largest: of all weights; the largest by magnitude.
        kurtosis: excess over a normal distribution's.
        row_kurtosis: the same once every row is divided by its root mean square, as its scale does: rows of unequal
            size alone raise the other. Of independent normal weights it is -6 / (columns + 2).
        histogram: weights by their distance from the mean in standard deviations; see ``HISTOGRAM_EDGE``.
        outside: weights that lie beyond it.
        peaks: ``QUANTILES`` of each row's largest magnitude over its root mean square.
        gaussian_peak: mean of the same of independent normal weights.
        losses: of every way to quantise that the columns allow.
    """

    name: str
    kind: str
    layer: int
    rows: int
    columns: int
    mean: float
    std: float
    largest: float
    kurtosis: float
    row_kurtosis: float
    histogram: list[int]
    outside: int
    peaks: list[float]
    gaussian_peak: float
    losses: list[Loss]

    def to_json(self) -> dict[str, Any]:
        """As it is written to ``analysis.json``."""
        return asdict(self)


def matrix_names(source: TensorSource) -> list[str]:
    """The matrices that quantisation acts on, in the order they are best read."""
    return [name for name in source.infos if is_quantizable(name)]


def analyse_matrices(
    source: TensorSource, bits: Sequence[Bits] = (8, 4), grains: Sequence[Grain] = GRAINS
) -> Iterator[MatrixReport]:
    """Look at every matrix that would be quantised, one in memory at a time.

    Raises:
        ModelError: they are quantised, or one has a value that FP16 has not, by name.
    """
    for name in matrix_names(source):
        weight = source.read(name)
        if not weight.is_floating_point():
            raise ModelError(f"{name} is quantised already.", "Analyse the model it was made from.")
        yield analyse_matrix(name, weight, bits, grains)


def analyse_matrix(name: str, weight: Tensor, bits: Sequence[Bits], grains: Sequence[Grain]) -> MatrixReport:
    """Look at ``[rows, columns]``; moments are summed in FP64, a block of rows at a time."""
    rows, columns = weight.shape
    _, layer, *kind = name.removesuffix(".weight").split(".")
    blocks = list(row_blocks(weight))
    mean = sum(float(weight[block].double().sum()) for block in blocks) / weight.numel()
    second = fourth = in_rows = 0.0
    for block in blocks:
        in_rows += _fourth_in_rows(weight[block].double())
        squares = (weight[block].double() - mean).square_()
        second += float(squares.sum())
        fourth += float(squares.square_().sum())
    std = math.sqrt(second / weight.numel())
    histogram = _histogram(weight, mean, std, blocks)
    peaks = torch.cat([_peaks(weight[block].float()) for block in blocks])
    ways = [(b, grain, grain.num_scales(name, columns, b)) for b in bits for grain in grains]
    try:
        losses = [_loss(weight, b, grain, scales, blocks) for b, grain, scales in _distinct(ways)]
    except ValueError as error:
        raise ModelError(f"{name} cannot be analysed: {error}.", "Check the weights.") from None
    return MatrixReport(
        name=name,
        kind=".".join(kind),
        layer=int(layer),
        rows=rows,
        columns=columns,
        mean=mean,
        std=std,
        largest=float(weight.abs().max()),
        kurtosis=fourth / weight.numel() / std**4 - 3 if std else 0.0,
        row_kurtosis=in_rows / weight.numel() - 3,
        histogram=histogram,
        outside=weight.numel() - sum(histogram),
        peaks=_quantiles(peaks),
        gaussian_peak=gaussian_null(columns, 4).peak,
        losses=losses,
    )


def _fourth_in_rows(weight: Tensor) -> float:
    """Sum of fourth powers over the square of their row's mean square; a row of zeros counts as normal."""
    squares = weight.square()
    means = squares.mean(dim=1)
    fourth = squares.square_().sum(dim=1)
    return float(torch.where(means == 0, 3.0 * weight.shape[1], fourth / means.square()).sum())


def _distinct(ways: Sequence[tuple[Bits, Grain, int | None]]) -> Iterator[tuple[Bits, Grain, int]]:
    """Those that the columns allow; the parts of a row only where they are not whole rows."""
    for bits, grain, scales in ways:
        if scales is not None and not (grain.shards > 1 and scales == 1):
            yield bits, grain, scales


def _loss(weight: Tensor, bits: Bits, grain: Grain, scales: int, blocks: Sequence[slice]) -> Loss:
    lost, there = [], []
    for block in blocks:
        exact = weight[block].float()
        found = dequantize(*quantize_rows(weight[block], bits, scales), bits).float()
        lost.append(torch.linalg.vector_norm(found - exact, dim=1).double())
        there.append(torch.linalg.vector_norm(exact, dim=1).double())
    differences, norms = torch.cat(lost), torch.cat(there)
    whole = float(norms.square().sum())
    width = weight.shape[1] // scales
    return Loss(
        bits,
        str(grain),
        width,
        relative=math.sqrt(float(differences.square().sum()) / whole) if whole else 0.0,
        gaussian=gaussian_null(width, bits).error,
        rows=_quantiles(torch.where(norms == 0, 0.0, differences / norms)),
    )


def _histogram(weight: Tensor, mean: float, std: float, blocks: Sequence[slice]) -> list[int]:
    counts = torch.zeros(HISTOGRAM_BINS)
    for block in blocks:
        scaled = (weight[block].float() - mean) / (std or 1.0)
        counts += torch.histc(scaled, HISTOGRAM_BINS, -HISTOGRAM_EDGE, HISTOGRAM_EDGE)
    return [int(count) for count in counts]


def _peaks(weight: Tensor) -> Tensor:
    norms = weight.square().mean(dim=1).sqrt()
    return torch.where(norms == 0, 0.0, weight.abs().amax(dim=1) / norms)


def _quantiles(values: Tensor) -> list[float]:
    ordered = values.double().sort().values
    return [float(ordered[round(share * (len(ordered) - 1))]) for share in QUANTILES]
