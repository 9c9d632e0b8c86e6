"""Token shards in the Megatron indexed-dataset layout, memory-mapped.

``<prefix>.bin`` holds the tokens of all documents one after the other; ``<prefix>.idx`` their lengths
and offsets: magic, version 1, type code, counts, int32 lengths, int64 byte offsets, int64 document starts.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glm130b.errors import DataError

_MAGIC = b"MMIDIDX\x00\x00"
_HEADER = struct.Struct("<9sQBQQ")
_TYPES: dict[int, type[np.generic]] = {
    1: np.uint8,
    2: np.int8,
    3: np.int16,
    4: np.int32,
    5: np.int64,
    8: np.uint16,
}
_BLOCK = 1 << 20
_CODES = {kind: code for code, kind in _TYPES.items()}


class TokenShard:
    """Read-only view of one shard.

    Attributes:
        tokens: all tokens, a memory map of the stored integer type.
        lengths: tokens in each document, a memory map.
    """

    def __init__(self, prefix: Path) -> None:
        """Open ``<prefix>.idx`` and ``<prefix>.bin``.

        Raises:
            DataError: missing, not of this layout, or index and data disagree.
        """
        self.prefix = prefix
        index_path, data_path = shard_files(prefix)
        index: NDArray[np.uint8] = np.zeros(0, np.uint8)
        try:
            size = data_path.stat().st_size
            if index_path.stat().st_size:
                index = np.memmap(index_path, np.uint8, mode="r")
        except OSError as error:
            raise DataError(f"{error.filename} cannot be read: {error.strerror}.", "Make the shards again.") from None
        try:
            magic, version, code, num_documents, num_starts = _HEADER.unpack(index[: _HEADER.size].tobytes())
            kind = np.dtype(_TYPES[code])
            if len(index) != _HEADER.size + 12 * num_documents + 8 * num_starts:
                raise ValueError("truncated")
        except (struct.error, KeyError, ValueError):
            magic, version, kind, num_documents = b"", 0, np.dtype(np.uint8), 0
        if magic != _MAGIC or version != 1:
            raise DataError(f"{index_path} is truncated, or no Megatron index of version 1.", "Make the shards again.")
        sizes_end = _HEADER.size + 4 * num_documents
        self.lengths: NDArray[np.int32] = index[_HEADER.size : sizes_end].view(np.int32)
        self._offsets: NDArray[np.int64] = index[sizes_end : sizes_end + 8 * num_documents].view(np.int64)
        if size != self._check_index(index_path, kind.itemsize):
            raise DataError(f"{data_path} is not as long as its index says.", "Copy it again, or make it again.")
        self.tokens: NDArray[Any] = np.memmap(data_path, dtype=kind, mode="r") if size else np.zeros(0, dtype=kind)

    def _check_index(self, path: Path, itemsize: int) -> int:
        """Bytes of all documents, each of which has to begin where the one before it ends."""
        end = 0
        for first in range(0, len(self.lengths), _BLOCK):
            lengths = self.lengths[first : first + _BLOCK].astype(np.int64)
            ends = end + np.cumsum(lengths) * itemsize
            starts = np.concatenate(([end], ends[:-1]))
            if lengths.min() < 0 or not np.array_equal(self._offsets[first : first + _BLOCK], starts):
                raise DataError(f"{path} is damaged: its documents do not follow one another.", "Copy it again.")
            end = int(ends[-1])
        return end

    @property
    def num_tokens(self) -> int:
        """Tokens in all documents together."""
        return len(self.tokens)

    def document(self, number: int) -> NDArray[Any]:
        """The tokens of one document, of the stored integer type."""
        start = int(self._offsets[number]) // self.tokens.itemsize
        return self.tokens[start : start + int(self.lengths[number])]


def shard_files(prefix: Path) -> tuple[Path, Path]:
    """The ``.idx`` and the ``.bin`` of a shard."""
    return prefix.with_name(prefix.name + ".idx"), prefix.with_name(prefix.name + ".bin")


def write_shard(prefix: Path, documents: Iterable[Sequence[int]], vocab_size: int) -> tuple[int, int]:
    """Write documents of token ids; two bytes a token if the vocabulary allows.

    Returns:
        Number of documents and of tokens.
    """
    kind = np.dtype(np.uint16 if vocab_size <= 65536 else np.int32)
    lengths = array("i")
    index_path, data_path = shard_files(prefix)
    with data_path.open("wb") as data:
        for ids in documents:
            data.write(np.asarray(ids, dtype=kind).tobytes())
            lengths.append(len(ids))
    sizes = np.asarray(lengths, dtype=np.int32)
    offsets = np.concatenate(([0], np.cumsum(sizes, dtype=np.int64)[:-1])) * kind.itemsize if len(sizes) else sizes
    with index_path.open("wb") as index:
        index.write(_HEADER.pack(_MAGIC, 1, _CODES[kind.type], len(sizes), len(sizes) + 1))
        index.write(sizes.tobytes())
        index.write(offsets.astype(np.int64).tobytes())
        index.write(np.arange(len(sizes) + 1, dtype=np.int64).tobytes())
    return len(sizes), int(sizes.sum(dtype=np.int64))
