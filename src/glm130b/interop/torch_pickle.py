"""The pickle in a ``.pt`` file: what a state dict is made of, read without calling anything it names."""

from __future__ import annotations

import io
import pickle
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import torch

from glm130b.model import TensorInfo

_STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "ShortStorage": torch.int16,
    "IntStorage": torch.int32,
    "LongStorage": torch.int64,
    "BoolStorage": torch.bool,
}
_STORAGE_CLASSES = {dtype: getattr(torch, name) for name, dtype in _STORAGES.items()}
_INERT_MODULES = (
    "argparse",
    "collections",
    "numpy",
    "_codecs",
    *(f"numpy.{core}.{module}" for core in ("core", "_core") for module in ("multiarray", "numeric")),
    "numpy.random._pickle",
)
"""What the settings and random states that training frameworks save beside the weights are made of."""

_INERT_NAMES = (
    "torch.device",
    "torch.Tensor",
    "torch.nn.parameter.Parameter",
    "torch.storage.UntypedStorage",
    "types.SimpleNamespace",
    "copyreg._reconstructor",
    "copy_reg._reconstructor",
    *(f"datetime.{name}" for name in ("date", "datetime", "timedelta", "timezone")),
    *(f"{module}.{name}" for module in ("pathlib", "pathlib._local") for name in ("PosixPath", "WindowsPath")),
    *(
        f"{module}.{kind.__name__}"
        for module in ("builtins", "__builtin__")
        for kind in (object, set, frozenset, list, dict, tuple, bytearray, bytes, str, bool, int, float, complex, slice)
    ),
    "builtins.range",
    "__builtin__.xrange",
)


@dataclass(frozen=True)
class Stored:
    """Where a tensor lies: a storage of so many elements, and element offset, shape and strides in it."""

    record: str
    dtype: torch.dtype
    num_elements: int
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def span(self) -> int:
        """Elements from its first to its last, both included."""
        if 0 in self.shape:
            return 0
        return 1 + sum((size - 1) * step for size, step in zip(self.shape, self.stride, strict=True))


class _Inert:
    """What the pickle makes of an object: it keeps the arguments and takes whatever else is done to it."""

    def __init__(self, *arguments: Any, **_: Any) -> None:
        self.arguments = arguments

    def __setstate__(self, _: Any) -> None: ...

    def __setitem__(self, *_: Any) -> None: ...

    def append(self, _: Any) -> None: ...

    def extend(self, _: Any) -> None: ...


class _Tensor(_Inert):
    """A tensor: storage, offset, shape, stride and what does not matter here."""


class _Typed(_Inert):
    """A tensor with attributes of its own: what makes it, its type, the arguments, the attributes."""


class _Parameter(_Inert):
    """A parameter: a tensor and what does not matter here."""


class _Dict(dict[Any, Any]):
    """An ordered dictionary; state dicts carry attributes of no use here."""

    def __setstate__(self, _: Any) -> None: ...


class _Describer(pickle.Unpickler):
    """Unpickles to plain containers and ``_Inert``; raises ``CodeError`` for a name it does not know."""

    def find_class(self, module: str, name: str) -> Any:
        match module, name:
            case "torch._utils", "_rebuild_tensor_v2":
                return _Tensor
            case "torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state":
                return _Parameter
            case "torch._tensor", "_rebuild_from_type_v2":
                return _Typed
            case "torch", "Size":
                return tuple
            case "torch", _ if name in _STORAGES:
                return _STORAGES[name]
            case "torch", _ if isinstance(getattr(torch, name, None), torch.dtype):
                return name
            case "collections", "OrderedDict":
                return _Dict
        if module in _INERT_MODULES or f"{module}.{name}" in _INERT_NAMES:
            return _Inert
        raise CodeError(f"{module}.{name}")

    def persistent_load(self, pid: Any) -> Any:
        return pid


def _located(name: str, value: Any) -> Stored:
    """Where a tensor lies, every number checked.

    Raises:
        ValueError: it is not a tensor, or one that cannot be.
    """
    if type(value) is _Typed and value.arguments[0] in (_Tensor, _Parameter):
        value = value.arguments[0](*value.arguments[2])
    if type(value) is _Parameter:
        value = value.arguments[0]
    if type(value) is not _Tensor:
        raise ValueError(f"{name} is not a tensor")
    pid, offset, shape, stride, _, _, *flags = value.arguments
    if any(flags):
        raise ValueError(f"{name} is a negated or conjugated view")
    kind, dtype, key, _, count = pid
    numbers = [count, offset, *shape, *stride]
    if kind != "storage" or not isinstance(dtype, torch.dtype) or not isinstance(key, str):
        raise ValueError(f"{name} has no storage")
    if len(shape) != len(stride) or not all(type(n) is int and 0 <= n < 2**63 for n in numbers):
        raise ValueError(f"{name} has no shape")
    stored = Stored(f"data/{key}", dtype, count, offset, tuple(shape), tuple(stride))
    if offset + stored.span > count or prod(shape) > count:
        raise ValueError(f"{name} is larger than its storage, or its values overlap")
    return stored


class CodeError(Exception):
    """A pickle names something that is not known to be data."""


def read_pickle(pickled: bytes) -> dict[str, Stored]:
    """Where the tensors under ``module`` lie, by name.

    Raises:
        CodeError: it names something that is not known to be data.
        Exception: it is damaged, or there are no tensors there.
    """
    content = _Describer(io.BytesIO(pickled)).load()
    module = content.get("module") if isinstance(content, dict) else None
    if not isinstance(module, dict) or not module:
        raise ValueError("there is no state dict under `module`")
    return {str(name): _located(str(name), value) for name, value in module.items()}


def write_pickle(infos: Mapping[str, TensorInfo]) -> bytes:
    """The pickle of ``{"module": tensors}`` as ``torch.save`` writes it; tensor n lies in record ``data/n``."""
    pickled = io.BytesIO()
    announced = {name: _Placeholder(str(n), info) for n, (name, info) in enumerate(infos.items())}
    _Pickler(pickled, protocol=2).dump({"module": announced})
    return pickled.getvalue()


@dataclass(frozen=True)
class _Key:
    """Stands for a storage while a pickle is written."""

    key: str
    info: TensorInfo


class _Placeholder:
    """Stands for a tensor while a pickle is written."""

    def __init__(self, key: str, info: TensorInfo) -> None:
        self.key, self.info = key, info

    def __reduce__(self) -> tuple[Any, ...]:
        shape = self.info.shape
        stride = tuple(prod(shape[n + 1 :]) for n in range(len(shape)))
        arguments: tuple[Any, ...] = (_Key(self.key, self.info), 0, shape, stride, False, OrderedDict())
        return torch._utils._rebuild_tensor_v2, arguments


class _Pickler(pickle.Pickler):
    def persistent_id(self, value: Any) -> Any:
        if not isinstance(value, _Key):
            return None
        return "storage", _STORAGE_CLASSES[value.info.dtype], value.key, "cpu", prod(value.info.shape)
