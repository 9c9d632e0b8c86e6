"""PyTorch's ``.pt`` files: read without running anything they hold, written one tensor at a time.

Such a file is an uncompressed zip archive: a pickle that describes the objects, and one record of bytes a
tensor. Reading turns the pickle into descriptions. Every name in it is looked up in a short list of inert
stand-ins and refused if it is not there, so nothing outside this file is called. The records are read when
they are wanted and compared with the archive's own CRC-32.
"""

from __future__ import annotations

import io
import os
import pickle
import struct
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from glm130b.errors import ModelError
from glm130b.model import TensorInfo, TensorSource, tensor_bytes

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
_INERT_MODULES = ("argparse", "numpy", "numpy.core.multiarray", "numpy._core.multiarray", "_codecs", "collections")
"""What the settings and random states that training frameworks save beside the weights are made of."""

_INERT_NAMES = (
    "torch.device",
    "copyreg._reconstructor",
    "copy_reg._reconstructor",
    *(
        f"{module}.{name}"
        for module in ("builtins", "__builtin__")
        for name in ("object", "set", "bytearray", "complex")
    ),
)

_ALIGNMENT = 64
_BLOCK_BYTES = 1 << 24
_COPY_AGAIN = "Copy it again."


@dataclass(frozen=True)
class _Storage:
    dtype: torch.dtype
    record: str


@dataclass(frozen=True)
class _Stored:
    """Where a tensor lies: element offset, shape and strides in a storage."""

    storage: _Storage
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
    """Stands for an object that is not a weight: takes whatever the pickle does to it and does nothing."""

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def __setstate__(self, _: Any) -> None: ...

    def __setitem__(self, *_: Any) -> None: ...

    def append(self, _: Any) -> None: ...

    def extend(self, _: Any) -> None: ...


def _stored(storage: _Storage, offset: int, shape: Any, stride: Any, *_: Any) -> _Stored:
    stored = _Stored(storage, int(offset), tuple(map(int, shape)), tuple(map(int, stride)))
    if not isinstance(storage, _Storage) or min(stored.offset, *stored.shape, *stored.stride, 0) < 0:
        raise pickle.UnpicklingError("a tensor without a place")
    return stored


class _Describer(pickle.Unpickler):
    """Unpickles to plain containers, ``_Stored`` and ``_Inert``; raises ``_CodeError`` for any other name."""

    def find_class(self, module: str, name: str) -> Any:
        match module, name:
            case "torch._utils", "_rebuild_tensor_v2":
                return _stored
            case "torch._utils", "_rebuild_parameter":
                return lambda data, *_: data
            case "torch", "Size":
                return tuple
            case "torch", _ if name in _STORAGES:
                return _STORAGES[name]
            case "torch", _ if isinstance(getattr(torch, name, None), torch.dtype):
                return name
            case "collections", "OrderedDict":
                return dict
        if module in _INERT_MODULES or f"{module}.{name}" in _INERT_NAMES:
            return _Inert
        raise _CodeError(f"{module}.{name}")

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, _, _ = pid
        if kind != "storage" or not isinstance(dtype, torch.dtype) or not isinstance(key, str):
            raise pickle.UnpicklingError("not a storage of tensors")
        return _Storage(dtype, f"data/{key}")


class _CodeError(Exception):
    """A pickle names something that is not data."""


class TorchFile:
    """The tensors in the ``module`` entry of one ``.pt`` file, as a source.

    Raises:
        ModelError: missing, truncated, damaged, not in this format, without ``module``, or with code in it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with zipfile.ZipFile(path) as archive:
                (pickled,) = [name for name in archive.namelist() if name.endswith("/data.pkl")]
                self._prefix = pickled.removesuffix("data.pkl")
                self._records = {info.filename: info for info in archive.infolist()}
                content = _Describer(io.BytesIO(archive.read(pickled))).load()
        except _CodeError as error:
            raise ModelError(
                f"{path} names {error}, which is not data but code; nothing of it was run.",
                "Get the checkpoint from those who made it.",
            ) from None
        except FileNotFoundError:
            raise ModelError(f"{path} is missing.", _COPY_AGAIN) from None
        except Exception as error:  # a damaged pickle can raise anything
            (reason, *_) = str(error).splitlines() or ["its pickle ends early"]
            raise ModelError(
                f"{path} is not a checkpoint of tensors, or damaged ({reason}).",
                "Copy it again; if it was saved by PyTorch before 1.6, save it anew with a later one.",
            ) from None
        if not isinstance(content, dict) or not isinstance(module := content.get("module"), dict):
            raise ModelError(f"{path} has no state dict under `module`.", "Give a file mp_rank_NN_model_states.pt.")
        for name, value in module.items():
            if not isinstance(value, _Stored):
                raise ModelError(f"{path}: {name} is not a tensor.", "Remove it, or get another checkpoint.")
        self._stored: dict[str, _Stored] = {str(name): stored for name, stored in module.items()}
        self.infos: Mapping[str, TensorInfo] = {
            name: TensorInfo(stored.shape, stored.storage.dtype) for name, stored in self._stored.items()
        }

    def read(self, name: str) -> Tensor:
        """One tensor, in memory of its own.

        Raises:
            ModelError: its bytes are not there or not those that were saved.
        """
        stored = self._stored[name]
        dtype = stored.storage.dtype
        num_bytes = stored.span * dtype.itemsize
        record = self._records.get(self._prefix + stored.storage.record)
        first = stored.offset * dtype.itemsize
        if record is None or record.compress_type != zipfile.ZIP_STORED or record.file_size < first + num_bytes:
            raise ModelError(f"{self.path} does not hold all of {name}.", _COPY_AGAIN)
        buffer = torch.empty(stored.span, dtype=dtype)
        content = tensor_bytes(buffer)
        try:
            with self.path.open("rb") as file:
                file.seek(_data_offset(file, record) + first)
                complete = file.readinto(content) == len(content)
        except (OSError, struct.error) as error:
            raise ModelError(f"{self.path} cannot be read ({error}).", _COPY_AGAIN) from None
        whole = num_bytes == record.file_size
        if not complete or (whole and zlib.crc32(content) != record.CRC):
            raise ModelError(f"{self.path} is damaged: the bytes of {name} are not those saved.", _COPY_AGAIN)
        return buffer.as_strided(stored.shape, stored.stride).contiguous()

    def damage(self) -> Iterator[str]:
        """Compare every record with its CRC-32, a block at a time; yields the names of tensors that differ."""
        names: dict[str, str] = {}
        for name, stored in self._stored.items():
            names.setdefault(self._prefix + stored.storage.record, name)
        with self.path.open("rb") as file:
            for filename, record in self._records.items():
                file.seek(_data_offset(file, record))
                left, crc = record.file_size, 0
                while left and (block := file.read(min(left, _BLOCK_BYTES))):
                    crc = zlib.crc32(block, crc)
                    left -= len(block)
                if left or crc != record.CRC:
                    yield names.get(filename, filename)


def _data_offset(file: io.BufferedReader, record: zipfile.ZipInfo) -> int:
    file.seek(record.header_offset + 26)
    name_length, extra_length = struct.unpack("<HH", file.read(4))
    return int(record.header_offset + 30 + name_length + extra_length)


@dataclass(frozen=True)
class _Key:
    """Stands for a storage while a pickle is written."""

    key: str
    info: TensorInfo


class _Announced:
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


def write_torch_file(path: Path, source: TensorSource) -> None:
    """Write ``{"module": tensors}`` as ``torch.save`` would, one tensor in memory at a time; synced to disk."""
    pickled = io.BytesIO()
    announced = {name: _Announced(str(n), info) for n, (name, info) in enumerate(source.infos.items())}
    _Pickler(pickled, protocol=2).dump({"module": announced})
    with path.open("wb") as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:

            def add(name: str, content: bytes | memoryview) -> None:
                record = zipfile.ZipInfo(f"{path.stem}/{name}")
                record.file_size, record.CRC = len(content), 0
                header = len(record.FileHeader(len(content) * 1.05 > zipfile.ZIP64_LIMIT))
                padding = -(file.tell() + header + 4) % _ALIGNMENT
                record.extra = struct.pack("<2sH", b"FB", padding) + bytes(padding)
                archive.writestr(record, content)

            add("data.pkl", pickled.getvalue())
            add("byteorder", b"little")
            for n, name in enumerate(source.infos):
                add(f"data/{n}", tensor_bytes(source.read(name)))
            add("version", b"3\n")
        file.flush()
        os.fsync(file.fileno())
