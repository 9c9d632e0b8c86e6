"""What tensors a model has, and whether they are the ones that are there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from glm130b.config import ModelConfig
from glm130b.errors import ModelError
from glm130b.interop.sharding import Rank
from glm130b.model import Bits, TensorInfo
from glm130b.planning import parameter_shapes
from glm130b.quantization import Quantized

_WEIGHT_TYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


class _Announced:
    """Tensors of which only shapes are known, as a source."""

    def __init__(self, infos: Mapping[str, TensorInfo]) -> None:
        self.infos = infos

    def read(self, name: str) -> Tensor:
        raise NotImplementedError(name)


def expected_tensors(
    config: ModelConfig, bits: Bits | None, *, degree: int = 1, scale_shards: int = 1
) -> Mapping[str, TensorInfo]:
    """The tensors of a model, or of each of ``degree`` ranks; floating point is announced as FP16.

    Raises:
        ModelError: the model cannot be cut or quantised so, by name.
    """
    whole = {name: TensorInfo(shape, torch.float16) for name, shape in parameter_shapes(config).items()}
    infos = Rank([_Announced(whole)], 0, degree).infos
    return infos if bits is None else Quantized(_Announced(infos), bits, scale_shards).infos


def check_tensors(
    there: Mapping[str, TensorInfo], expected: Mapping[str, TensorInfo], origin: Path, wanted: str, remedy: str
) -> None:
    """Compare what is there with what should be.

    Args:
        wanted: who has the expected shape, for the message: "the model wants".

    Raises:
        ModelError: a tensor is missing, superfluous, of the wrong shape or type, by name.
    """
    for name, info in expected.items():
        if name not in there:
            raise ModelError(f"{origin} lacks {name}.", remedy)
        found = there[name]
        if found.shape != info.shape:
            raise ModelError(f"{origin}: {name} is {list(found.shape)}, {wanted} {list(info.shape)}.", remedy)
        exact = info.dtype == torch.int8 or name.endswith("_scale")
        if found.dtype not in ((info.dtype,) if exact else _WEIGHT_TYPES):
            raise ModelError(f"{origin}: {name} is of type {found.dtype}.", remedy)
    if extra := there.keys() - expected.keys():
        raise ModelError(f"{origin} holds {min(extra)}, which the model does not have.", remedy)
