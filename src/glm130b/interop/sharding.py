"""How tensor parallelism cuts each tensor of a GLM, and how the pieces go together again.

The embedding and the query-key-value matrix are cut by rows; ``dense_h_to_4h`` too, but each half of GeGLU by
itself; the two matrices that read what those wrote are cut by columns; the rest every rank has whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from glm130b.errors import ModelError
from glm130b.model import TensorInfo, TensorSource, is_cut_by_columns

Cut = Literal["rows", "glu_rows", "columns", "scale_columns", "none"]


def cut_of(name: str) -> Cut:
    """How the tensor ``name`` is cut; ``scale_columns`` are the scales of a quantised matrix cut by columns."""
    if name == "word_embeddings.weight" or "query_key_value" in name:
        return "rows"
    if "dense_h_to_4h" in name:
        return "glu_rows"
    if is_cut_by_columns(name):
        if name.endswith(".weight_scale"):
            return "scale_columns"
        if name.endswith(".weight"):
            return "columns"
    return "none"


def stretches(name: str, tensor: Tensor, rank: int, degree: int) -> list[Tensor]:
    """The views of a whole tensor that ``rank`` of ``degree`` holds, one after the other."""
    match cut_of(name):
        case "rows":
            return [tensor.chunk(degree)[rank]]
        case "glu_rows":
            return [half.chunk(degree)[rank] for half in tensor.chunk(2)]
        case "columns":
            return [tensor.chunk(degree, dim=1)[rank]]
        case "scale_columns" if tensor.dim() == 2:
            return [tensor.chunk(degree, dim=1)[rank]]
    return [tensor]


def split(name: str, tensor: Tensor, rank: int, degree: int) -> Tensor:
    """What ``rank`` of ``degree`` holds of a whole tensor, contiguous.

    A row's scales, if there are several, stand for as many stretches of columns; a rank gets the one of its own.
    """
    if cut_of(name) == "scale_columns" and tensor.dim() == 2:
        return tensor[:, rank * tensor.shape[1] // degree].contiguous()
    return torch.cat(stretches(name, tensor, rank, degree))


def merge(name: str, ranks: Sequence[TensorSource]) -> Tensor:
    """The tensor that the pieces of consecutive ranks make up; holds it and one piece."""
    if len(ranks) == 1 or cut_of(name) == "none":
        return ranks[0].read(name)
    info = merged_info(name, ranks[0].infos[name], len(ranks))
    whole = torch.empty(info.shape, dtype=info.dtype)
    for rank, source in enumerate(ranks):
        views = stretches(name, whole, rank, len(ranks))
        for view, piece in zip(views, source.read(name).chunk(len(views)), strict=True):
            view.copy_(piece.view(view.shape))
    return whole


def merged_info(name: str, piece: TensorInfo, degree: int) -> TensorInfo:
    """What ``degree`` pieces like this one make up; a piece of an impossible shape is left alone."""
    match cut_of(name), piece.shape:
        case "rows" | "glu_rows", (rows, *columns):
            return TensorInfo((rows * degree, *columns), piece.dtype)
        case "columns", (rows, columns):
            return TensorInfo((rows, columns * degree), piece.dtype)
        case "scale_columns", (rows,) if degree > 1:
            return TensorInfo((rows, degree), piece.dtype)
    return piece


def split_info(name: str, whole: TensorInfo, degree: int) -> TensorInfo:
    """What each of ``degree`` ranks holds of a tensor like this one.

    Raises:
        ModelError: it does not divide, or a rank's file would need more scales a row than it has room for.
    """
    rows, *columns = whole.shape
    match cut_of(name):
        case "rows" | "glu_rows":
            units = rows // 2 if cut_of(name) == "glu_rows" else rows
            if units % degree:
                raise ModelError(f"{name}: {units} rows do not divide among {degree} ranks.", _OTHER_DEGREE)
            return TensorInfo((rows // degree, *columns), whole.dtype)
        case "columns":
            if columns[0] % degree:
                raise ModelError(f"{name}: {columns[0]} columns do not divide among {degree} ranks.", _OTHER_DEGREE)
            return TensorInfo((rows, columns[0] // degree), whole.dtype)
        case "scale_columns":
            if columns and degree % columns[0]:
                raise ModelError(
                    f"{name} has {columns[0]} scales a row, one for each rank it was quantised on; a file of "
                    f"{degree} ranks has room for one.",
                    f"Write for a multiple of {columns[0]} ranks, or begin with unquantised weights.",
                )
            return TensorInfo((rows,), whole.dtype)
    return whole


class Whole:
    """The tensors of all ranks put together, as a source."""

    def __init__(self, ranks: Sequence[TensorSource]) -> None:
        self._ranks = ranks
        self.infos: Mapping[str, TensorInfo] = {
            name: merged_info(name, info, len(ranks)) for name, info in ranks[0].infos.items()
        }

    def read(self, name: str) -> Tensor:
        """One whole tensor."""
        return merge(name, self._ranks)


class Rank:
    """What ``rank`` of ``degree`` holds of a model that now lies on ``ranks``, as a source.

    Only the pieces it is made of are read where one number of ranks divides the other.

    Raises:
        ModelError: a tensor that cannot be cut so, by name.
    """

    def __init__(self, ranks: Sequence[TensorSource], rank: int, degree: int) -> None:
        self._ranks, self._rank, self._degree = ranks, rank, degree
        whole = Whole(ranks)
        self.infos: Mapping[str, TensorInfo] = {
            name: split_info(name, info, degree) for name, info in whole.infos.items()
        }

    def read(self, name: str) -> Tensor:
        """One tensor, contiguous."""
        there, wanted = len(self._ranks), self._degree
        if there % wanted == 0:
            width = there // wanted
            return merge(name, self._ranks[self._rank * width : (self._rank + 1) * width])
        if wanted % there == 0:
            times = wanted // there
            piece = self._ranks[self._rank // times].read(name)
            return split(name, piece, self._rank % times, times)
        return split(name, merge(name, self._ranks), self._rank, wanted)


_OTHER_DEGREE = "Choose another number of ranks (--tp)."
