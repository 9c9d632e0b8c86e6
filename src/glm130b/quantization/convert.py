"""A source of named tensors whose linear maps are quantised as they are read."""

from __future__ import annotations

import torch
from torch import Tensor

from glm130b.errors import ModelError
from glm130b.model import LINEAR_NAMES, Bits, TensorInfo, TensorSource, is_cut_by_columns
from glm130b.quantization.absmax import quantize_rows


def is_quantizable(name: str) -> bool:
    """Whether the tensor is the weight of a block's linear map; embeddings, norms and biases are not."""
    return any(name.endswith(f".{linear}.weight") for linear in LINEAR_NAMES)


class Quantized:
    """``source`` with every quantisable weight in ``bits`` and a sibling ``<name>_scale``.

    Args:
        scale_shards: scales a row of the matrices that tensor parallelism cuts by columns.

    Raises:
        ModelError: a weight that cannot be quantised, by name.
    """

    def __init__(self, source: TensorSource, bits: Bits, scale_shards: int = 1) -> None:
        self._source, self._bits, self._scale_shards = source, bits, scale_shards
        self._scales: dict[str, Tensor] = {}
        self.infos: dict[str, TensorInfo] = {}
        for name, info in source.infos.items():
            if not is_quantizable(name):
                self.infos[name] = info
                continue
            rows, columns = info.shape
            shards = self._shards(name)
            if columns % shards or (bits == 4 and columns // shards % 2):
                raise self._refusal(name, f"its {columns} columns do not pack in pairs on {shards} ranks")
            self.infos[name] = TensorInfo((rows, columns * bits // 8), torch.int8)
            self.infos[f"{name}_scale"] = TensorInfo((rows,) if shards == 1 else (rows, shards), torch.float16)

    def read(self, name: str) -> Tensor:
        """One tensor; a weight's scales are kept until they are asked for."""
        weight = name.removesuffix("_scale")
        if not is_quantizable(weight):
            return self._source.read(name)
        if name in self._scales:
            return self._scales.pop(name)
        try:
            integers, scale = quantize_rows(self._source.read(weight), self._bits, self._shards(weight))
        except ValueError as error:
            raise self._refusal(weight, str(error)) from None
        if name != weight:
            return scale
        self._scales[f"{weight}_scale"] = scale
        return integers

    def _shards(self, name: str) -> int:
        return self._scale_shards if is_cut_by_columns(name) else 1

    def _refusal(self, name: str, reason: str) -> ModelError:
        return ModelError(f"{name} cannot be quantised to {self._bits} bits: {reason}.", "Use other bits or weights.")
