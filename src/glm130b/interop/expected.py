"""What tensors a model has, and whether they are the ones that are there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from glm130b.config import ModelConfig
from glm130b.errors import ModelError
from glm130b.interop.sharding import Rank
from glm130b.model import InMemory, Scheme, TensorInfo
from glm130b.planning import parameter_shapes
from glm130b.quantization import Quantized

_WEIGHT_TYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def expected_tensors(config: ModelConfig, scheme: Scheme | None, *, degree: int = 1) -> Mapping[str, TensorInfo]:
    """The tensors of a model, or of each of ``degree`` ranks; floating point is announced as FP16.

    Raises:
        ModelError: the model cannot be cut or quantised so, by name.
    """
    shapes = parameter_shapes(config).items()
    whole = InMemory({name: torch.empty(shape, dtype=torch.float16, device="meta") for name, shape in shapes})
    rank = Rank([whole], 0, degree)
    return rank.infos if scheme is None else Quantized(rank, scheme).infos


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
