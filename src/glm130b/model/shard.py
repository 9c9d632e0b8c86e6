"""One safetensors file, written tensor by tensor.

The library writes a file from tensors that are all in memory. This writes the same format (eight bytes of
header length, a JSON header, the tensors' bytes) with one tensor in memory at a time, and hashes what it
writes. Reading is the library's.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I8": torch.int8,
}
"""The element types of weights by safetensors' names."""

DTYPE_NAMES = {dtype: name for name, dtype in DTYPES.items()}


@dataclass(frozen=True)
class TensorInfo:
    """What is known of a tensor before it is read."""

    shape: tuple[int, ...]
    dtype: torch.dtype

    @classmethod
    def of(cls, tensor: Tensor) -> TensorInfo:
        """Describe a tensor."""
        return cls(tuple(tensor.shape), tensor.dtype)

    @property
    def nbytes(self) -> int:
        """Bytes of its values."""
        return prod(self.shape) * self.dtype.itemsize


class TensorSource(Protocol):
    """Named tensors of which each is read when it is wanted: a folder, a checkpoint, a model in memory."""

    @property
    def infos(self) -> Mapping[str, TensorInfo]:
        """What there is, in the order it is best read."""

    def read(self, name: str) -> Tensor:
        """One tensor, on the CPU; it must not be written to."""


class InMemory:
    """Tensors that are there already, as a source."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self.tensors = tensors
        self.infos = {name: TensorInfo.of(tensor) for name, tensor in tensors.items()}

    def read(self, name: str) -> Tensor:
        """One tensor, moved to the CPU."""
        return self.tensors[name].detach().cpu()


@dataclass(frozen=True)
class ShardRecord:
    """What is recorded of a shard once it is written."""

    size: int
    """Bytes of the file."""
    sha256: str
    """Of the file, in hex."""
    tensors: dict[str, str]
    """SHA-256 of each tensor's bytes, by name."""


def plan_shards(infos: Mapping[str, TensorInfo], max_shard_bytes: int) -> list[list[str]]:
    """Names of the tensors of each shard, in order; a larger tensor has a shard of its own."""
    shards: list[list[str]] = [[]]
    size = 0
    for name, info in infos.items():
        if shards[-1] and size + info.nbytes > max_shard_bytes:
            shards.append([])
            size = 0
        shards[-1].append(name)
        size += info.nbytes
    return shards


def tensor_bytes(tensor: Tensor) -> memoryview:
    """The bytes of a contiguous CPU tensor, not copied."""
    values: Any = tensor.detach().contiguous().view(-1).view(torch.uint8).numpy()
    return memoryview(values)


def sha256_of(tensor: Tensor) -> str:
    """SHA-256 of a CPU tensor's bytes, in hex."""
    return hashlib.sha256(tensor_bytes(tensor)).hexdigest()


def shard_header(names: Sequence[str], infos: Mapping[str, TensorInfo]) -> bytes:
    """The first bytes of a shard, up to the first tensor's."""
    content: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name in names:
        info = infos[name]
        content[name] = {
            "dtype": DTYPE_NAMES[info.dtype],
            "shape": list(info.shape),
            "data_offsets": [offset, offset + info.nbytes],
        }
        offset += info.nbytes
    text = json.dumps(content, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def write_shard(path: Path, names: Sequence[str], source: TensorSource) -> ShardRecord:
    """Write some of a source's tensors to ``path``, one in memory at a time, and sync the file to disk.

    Raises:
        ValueError: a tensor is not what the source announced.
    """
    whole, digests = hashlib.sha256(), {}
    with path.open("wb") as file:

        def write(content: bytes | memoryview) -> None:
            whole.update(content)
            file.write(content)

        write(shard_header(names, source.infos))
        for name in names:
            tensor = source.read(name)
            if TensorInfo.of(tensor) != source.infos[name]:
                raise ValueError(f"{name} was announced as {source.infos[name]} and is {TensorInfo.of(tensor)}")
            content = tensor_bytes(tensor)
            digests[name] = hashlib.sha256(content).hexdigest()
            write(content)
            del tensor, content
        file.flush()
        os.fsync(file.fileno())
        size = file.tell()
    return ShardRecord(size, whole.hexdigest(), digests)
