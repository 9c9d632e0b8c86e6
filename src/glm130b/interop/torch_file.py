"""PyTorch's ``.pt`` files: read without running anything they hold, written one tensor at a time.

Such a file is an uncompressed zip archive: a pickle that describes the objects, and one record of bytes a
storage. The pickle is turned into descriptions (``torch_pickle.py``); the records are read when they are wanted
and compared with the archive's own CRC-32.
"""

from __future__ import annotations

import io
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from glm130b.errors import ModelError
from glm130b.interop.torch_pickle import CodeError, read_pickle, write_pickle
from glm130b.model import TensorInfo, TensorSource, tensor_bytes

_LOCAL_HEADER = "<4s5H3I2H"
_ALIGNMENT = 64
_BLOCK_BYTES = 1 << 24
_COPY_AGAIN = "Copy it again."


class TorchFile:
    """The tensors in the ``module`` entry of one ``.pt`` file, as a source.

    Raises:
        ModelError: missing, truncated, damaged, not in this format, without ``module``, or with code in it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._checked: set[str] = set()
        try:
            with zipfile.ZipFile(path) as archive:
                self._records = {info.filename: info for info in archive.infolist()}
                if len(self._records) < len(archive.infolist()):
                    raise ValueError("a name comes twice in its directory")
                (pickled,) = [name for name in self._records if name.endswith("/data.pkl")] or [""]
                self._prefix = pickled.removesuffix("data.pkl")
                order = f"{self._prefix}byteorder"
                if order in self._records and archive.read(order) != b"little":
                    raise ValueError("it is big-endian")
                self._stored = read_pickle(archive.read(pickled))
        except CodeError as error:
            raise ModelError(
                f"{path} names {error}, which is not known to be data and may be code; nothing of it was run.",
                "Get the checkpoint from those who made it, or save it anew with its `module` alone.",
            ) from None
        except FileNotFoundError:
            raise ModelError(f"{path} is missing.", _COPY_AGAIN) from None
        except Exception as error:  # a damaged pickle can raise anything
            (reason, *_) = str(error).splitlines() or ["its pickle ends early"]
            raise ModelError(
                f"{path} is not a checkpoint of tensors, or damaged ({reason}).",
                "Copy it again; if it was saved by PyTorch before 1.6, save it anew with a later one.",
            ) from None
        for name, stored in self._stored.items():
            record = self._records.get(self._prefix + stored.record)
            size = stored.num_elements * stored.dtype.itemsize
            if record is None or record.compress_type != zipfile.ZIP_STORED or record.file_size != size:
                raise ModelError(f"{path} does not hold all of {name}.", _COPY_AGAIN)
        self.infos: Mapping[str, TensorInfo] = {
            name: TensorInfo(stored.shape, stored.dtype) for name, stored in self._stored.items()
        }

    @property
    def digest(self) -> int:
        """One number of the names, sizes and CRC-32s of all records."""
        records = [(info.filename, info.file_size, info.CRC) for info in self._records.values()]
        return zlib.crc32(repr(sorted(records)).encode())

    def checksum(self, name: str) -> int:
        """The CRC-32 recorded for the storage of a tensor."""
        return self._records[self._prefix + self._stored[name].record].CRC

    def read(self, name: str) -> Tensor:
        """One tensor, in memory of its own.

        Raises:
            ModelError: its bytes are not there or not those that were saved.
        """
        stored = self._stored[name]
        record = self._records[self._prefix + stored.record]
        buffer = torch.empty(stored.span, dtype=stored.dtype)
        content = tensor_bytes(buffer)
        whole = len(content) == record.file_size
        try:
            with self.path.open("rb") as file:
                if not whole and stored.record not in self._checked:
                    if not self._intact(file, record):
                        raise EOFError
                    self._checked.add(stored.record)
                file.seek(self._data_offset(file, record) + stored.offset * stored.dtype.itemsize)
                if file.readinto(content) < len(content) or (whole and zlib.crc32(content) != record.CRC):
                    raise EOFError
        except (EOFError, struct.error):
            raise ModelError(f"{self.path} is damaged: the bytes of {name} are not those saved.", _COPY_AGAIN) from None
        except OSError as error:
            raise ModelError(f"{self.path} cannot be read ({error}).", _COPY_AGAIN) from None
        return buffer.as_strided(stored.shape, stored.stride).contiguous()

    def damage(self) -> Iterator[str]:
        """Compare every record with its CRC-32, a block at a time; yields the names of tensors that differ."""
        names: dict[str, str] = {}
        for name, stored in self._stored.items():
            names.setdefault(self._prefix + stored.record, name)
        with self.path.open("rb") as file:
            for filename, record in self._records.items():
                if not self._intact(file, record):
                    yield names.get(filename, filename)

    def _intact(self, file: io.BufferedReader, record: zipfile.ZipInfo) -> bool:
        try:
            file.seek(self._data_offset(file, record))
        except (EOFError, struct.error):
            return False
        left, crc = record.file_size, 0
        while left and (block := file.read(min(left, _BLOCK_BYTES))):
            crc = zlib.crc32(block, crc)
            left -= len(block)
        return not left and crc == record.CRC

    @staticmethod
    def _data_offset(file: io.BufferedReader, record: zipfile.ZipInfo) -> int:
        file.seek(record.header_offset)
        *_, name_length, extra_length = struct.unpack(_LOCAL_HEADER, file.read(struct.calcsize(_LOCAL_HEADER)))
        if file.read(name_length) != record.filename.encode():
            raise EOFError
        return file.tell() + int(extra_length)


def write_torch_file(path: Path, source: TensorSource) -> None:
    """Write ``{"module": tensors}`` as ``torch.save`` would, one tensor in memory at a time; synced to disk."""
    with path.open("wb") as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:

            def add(name: str, content: bytes | memoryview) -> None:
                record = zipfile.ZipInfo(f"{path.stem}/{name}")
                record.file_size, record.CRC = len(content), 0
                header = len(record.FileHeader(len(content) * 1.05 > zipfile.ZIP64_LIMIT))
                padding = -(file.tell() + header + 4) % _ALIGNMENT
                record.extra = struct.pack("<2sH", b"FB", padding) + bytes(padding)
                archive.writestr(record, content)

            add("data.pkl", write_pickle(source.infos))
            add("byteorder", b"little")
            for n, name in enumerate(source.infos):
                add(f"data/{n}", tensor_bytes(source.read(name)))
            add("version", b"3\n")
        file.flush()
        os.fsync(file.fileno())
