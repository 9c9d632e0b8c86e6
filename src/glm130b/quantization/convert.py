"""A source of named tensors whose matrices are quantised as they are read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from glm130b.errors import ModelError
from glm130b.model import GROUP_SIZES, LINEAR_NAMES, OUTPUT, Bits, Scheme, TensorInfo, TensorSource
from glm130b.quantization.absmax import quantize_rows
from glm130b.quantization.error import MatrixError, matrix_error

_EMBEDDING = "word_embeddings.weight"


def is_quantizable(name: str) -> bool:
    """Whether the tensor is the weight of a layer's linear map; embeddings, norms and biases are not."""
    return any(name.endswith(f".{linear}.weight") for linear in LINEAR_NAMES)


@dataclass(frozen=True)
class _Matrix:
    origin: str
    """The tensor it is made of."""
    bits: Bits
    num_scales: int


class Quantized:
    """``source`` with every linear map in the scheme's bits and a sibling ``<name>_scale``, and with a quantised copy
    of the embedding, ``output.weight``, if the scheme has one.

    Args:
        on_error: is given the name of each matrix and what quantising it loses, whenever it is quantised.

    Raises:
        ModelError: a weight that cannot be quantised, by name.
    """

    def __init__(
        self, source: TensorSource, scheme: Scheme, on_error: Callable[[str, MatrixError], None] | None = None
    ) -> None:
        self._source, self._on_error = source, on_error
        self._matrices: dict[str, _Matrix] = {}
        self._scales: dict[str, Tensor] = {}
        self.infos: dict[str, TensorInfo] = {}
        for name, info in source.infos.items():
            if is_quantizable(name):
                self._announce(name, name, info, scheme, scheme.bits)
            else:
                self.infos[name] = info
        if scheme.output_bits is not None:
            self._announce(OUTPUT, _EMBEDDING, source.infos[_EMBEDDING], scheme, scheme.output_bits)

    def origin(self, name: str) -> Tensor:
        """What the quantised matrix ``name`` is made of."""
        return self._source.read(self._matrices[name].origin)

    @property
    def matrices(self) -> dict[str, Bits]:
        """Names and bits of the quantised matrices."""
        return {name: matrix.bits for name, matrix in self._matrices.items()}

    def read(self, name: str) -> Tensor:
        """One tensor; a weight's scales are kept until they are asked for."""
        weight = name.removesuffix("_scale")
        if weight not in self._matrices:
            return self._source.read(name)
        if name in self._scales:
            return self._scales.pop(name)
        matrix = self._matrices[weight]
        origin = self._source.read(matrix.origin)
        try:
            integers, scale = quantize_rows(origin, matrix.bits, matrix.num_scales)
        except ValueError as error:
            raise _refusal(weight, matrix.bits, str(error)) from None
        if name != weight:
            return scale
        if self._on_error is not None:
            self._on_error(name, matrix_error(origin, integers, scale, matrix.bits))
        self._scales[f"{weight}_scale"] = scale
        return integers

    def _announce(self, name: str, origin: str, info: TensorInfo, scheme: Scheme, bits: Bits) -> None:
        rows, columns = info.shape
        try:
            scales = scheme.num_scales(name, columns)
        except ValueError as error:
            raise _refusal(name, bits, str(error), self._other_scales(scheme)) from None
        if bits == 4 and columns // scales % 2:
            where = "" if scales == 1 else f" on {scales} ranks"
            raise _refusal(name, bits, f"its {columns} columns do not pack in pairs{where}")
        self._matrices[name] = _Matrix(origin, bits, scales)
        self.infos[name] = TensorInfo((rows, columns * bits // 8), torch.int8)
        self.infos[f"{name}_scale"] = TensorInfo((rows,) if scales == 1 else (rows, scales), torch.float16)

    def _other_scales(self, scheme: Scheme) -> str:
        if scheme.group_size is None:
            return _OTHERWISE
        widths = [info.shape[1] for name, info in self._source.infos.items() if is_quantizable(name)]
        sizes = [str(size) for size in GROUP_SIZES if not any(width % size for width in widths)]
        groups = f"groups of {' or '.join(sizes)} columns, or " if sizes else ""
        return f"Use {groups}a scale a row."


_OTHERWISE = "Use other bits or weights."


def _refusal(name: str, bits: Bits, reason: str, remedy: str = _OTHERWISE) -> ModelError:
    return ModelError(f"{name} cannot be quantised to {bits} bits: {reason}.", remedy)
