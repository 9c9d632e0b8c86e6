"""The tensors of a folder of shards, read from memory-mapped files; put together where they lie in pieces."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from glm130b.errors import ModelError
from glm130b.model.index import Index, read_index
from glm130b.model.pieces import Cut
from glm130b.model.region import Region
from glm130b.model.shard import DTYPES, TensorInfo, sha256_of


class FolderTensors:
    """The tensors of a folder as a source; each file is memory-mapped for as long as something in it is used.

    Args:
        verify: compare what is stored, when it is first read, with the SHA-256 in the index.
        index: default the folder's own of a model.

    Raises:
        ModelError: no index (the folder is incomplete). What is missing, truncated or damaged besides is told, by
            name, by ``infos``, which looks into every file, or by what reads it.
    """

    def __init__(self, path: Path, *, verify: bool = True, index: Index | None = None) -> None:
        self.path, self.verify = path, verify
        self.index = read_index(path) if index is None else index
        self._verified: set[str] = set()
        self._pieces = {
            key: TensorInfo(region.shape, cut.whole.dtype)
            for cut in self.index.cuts.values()
            for key, region in cut.regions.items()
        }

    @cached_property
    def infos(self) -> Mapping[str, TensorInfo]:
        """The whole tensors, in the order in which they, or their first pieces, were written."""
        found: dict[str, TensorInfo] = {}
        for file in dict.fromkeys(self.index.files.values()):
            with self._open(file) as shard:
                for key in shard.keys():  # noqa: SIM118
                    piece = shard.get_slice(key)
                    found[key] = TensorInfo(tuple(piece.get_shape()), DTYPES[piece.get_dtype()])
                    self._check_piece(key, found[key])
        if missing := self.index.files.keys() - found.keys():
            raise ModelError(f"{self.path} lacks {min(missing)}.", "Make or copy the folder again.")
        names = {key: name for name, cut in self.index.cuts.items() for key in cut.regions}
        wholes = found | {name: cut.whole for name, cut in self.index.cuts.items()}
        return {name: wholes[name] for name in dict.fromkeys(names.get(key, key) for key in self.index.files)}

    def read(self, name: str) -> Tensor:
        """One whole tensor: memory-mapped if it is stored so, else put together in memory.

        Raises:
            ModelError: its bytes are not those that were written.
        """
        cut = self.index.cuts.get(name)
        return self._stored(name) if cut is None else self._assemble(cut, Region.whole(cut.whole.shape))

    def read_region(self, name: str, region: Region) -> Tensor:
        """A rectangle of a tensor; reads only the pieces that hold some of it and, if ``verify`` is off, of each of
        them only what is wanted.

        Raises:
            ModelError: the bytes of a piece are not those that were written.
        """
        cut = self.index.cuts.get(name)
        return self._stored(name)[region.slices] if cut is None else self._assemble(cut, region)

    def verify_share(self, share: int, num_shares: int) -> None:
        """Compare one of ``num_shares`` stretches of all that is stored with its SHA-256.

        Raises:
            ModelError: something is missing, truncated or damaged, by name.
        """
        keys = list(self.index.files)
        for key in keys[len(keys) * share // num_shares : len(keys) * (share + 1) // num_shares]:
            self._compare(key, self._stored(key))

    def _assemble(self, cut: Cut, region: Region) -> Tensor:
        assembled = torch.empty(region.shape, dtype=cut.whole.dtype)
        for key, there in cut.regions.items():
            shared = region.overlap(there)
            if shared is None:
                continue
            part = self._stored(key)[shared.within(there)]
            if shared == region:
                return part
            assembled[shared.within(region)] = part
        return assembled

    def _stored(self, key: str) -> Tensor:
        """What lies under a key, memory-mapped."""
        if key not in self.index.files:
            raise ModelError(f"{self.path} lacks {key}.", "Make or copy the folder again.")
        with self._open(self.index.files[key]) as shard:
            tensor: Tensor = shard.get_tensor(key)
        self._check_piece(key, TensorInfo.of(tensor))
        if self.verify:
            self._compare(key, tensor)
        return tensor

    def _compare(self, key: str, tensor: Tensor) -> None:
        if key in self._verified or key not in self.index.digests:
            return
        if sha256_of(tensor) != self.index.digests[key]:
            raise ModelError(
                f"{self.path / self.index.files[key]} is damaged: the bytes of {key} are not those that were written.",
                "Copy it again, or use an earlier checkpoint.",
            )
        self._verified.add(key)

    def _check_piece(self, key: str, info: TensorInfo) -> None:
        if self._pieces.get(key, info) != info:
            raise ModelError(
                f"{self.path / self.index.files[key]}: {key} is {list(info.shape)}, the index says "
                f"{list(self._pieces[key].shape)}.",
                "Copy the folder again.",
            )

    @contextmanager
    def _open(self, file: str) -> Iterator[Any]:
        path = self.path / file
        try:
            size = self.index.sizes.get(file)
            if size is not None and path.stat().st_size != size:
                raise SafetensorError(f"{path.stat().st_size} bytes instead of {size}")
            with safe_open(path, framework="pt") as shard:
                yield shard
        except FileNotFoundError:
            raise ModelError(f"{path} is missing.", "Make or copy the folder again.") from None
        except (SafetensorError, OSError, KeyError) as error:
            raise ModelError(
                f"{path} is truncated or damaged ({error}).", "Copy it again, or use an earlier checkpoint."
            ) from None
