"""The tokens of one source, in however many shards, as pieces of equal length."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from glm130b.corpus.shards import TokenShard, shard_files
from glm130b.errors import DataError


class Tokens:
    """A source's shards, one after the other. A piece lies within one shard; the rest of a shard is not used."""

    def __init__(self, shards: Sequence[TokenShard]) -> None:
        self.shards = tuple(shards)

    @property
    def num_tokens(self) -> int:
        """Tokens in all shards."""
        return sum(shard.num_tokens for shard in self.shards)

    @property
    def num_documents(self) -> int:
        """Documents in all shards."""
        return sum(len(shard.lengths) for shard in self.shards)

    def pieces(self, length: int) -> Pieces:
        """All stretches of ``length`` tokens."""
        return Pieces(self.shards, length)


class Pieces:
    """A source cut into stretches of equal length; ``pieces[number]`` is int64 ``[length]``."""

    def __init__(self, shards: Sequence[TokenShard], length: int) -> None:
        self._shards, self._length = shards, length
        self._before = [0]
        for shard in shards:
            self._before.append(self._before[-1] + shard.num_tokens // length)

    def __len__(self) -> int:
        return self._before[-1]

    def __getitem__(self, number: int) -> NDArray[np.int64]:
        if not 0 <= number < len(self):
            raise IndexError(number)
        shard = bisect_right(self._before, number) - 1
        start = (number - self._before[shard]) * self._length
        return self._shards[shard].tokens[start : start + self._length].astype(np.int64)


def find_shards(path: Path, split: str) -> Tokens:
    """The shards of a file or below a folder that belong to ``split``, ``train`` or ``heldout``.

    A shard whose name does not begin with ``heldout`` is for training.

    Raises:
        DataError: a shard is unreadable.
    """
    files = [path] if path.suffix == ".idx" else sorted(path.rglob("*.idx"))
    chosen = [file for file in files if file.name.startswith("heldout") == (split == "heldout")]
    return Tokens([TokenShard(file.with_suffix("")) for file in chosen])


def fingerprint(tokens: Tokens) -> str:
    """A hash of the shards' indexes and sizes, of their first and last megabyte; quick however large they are.

    SHA-256 of whole files is what ``glm data verify`` compares.
    """
    digest = hashlib.sha256()
    for shard in tokens.shards:
        index, data = shard_files(shard.prefix)
        with index.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
        with data.open("rb") as file:
            digest.update(file.read(1 << 20))
            file.seek(max(0, data.stat().st_size - (1 << 20)))
            digest.update(file.read())
    return digest.hexdigest()


def check_ids(tokens: NDArray[np.int64], vocab_size: int, where: str) -> None:
    """Refuse ids that the tokenizer does not have.

    Raises:
        DataError: with the source and the id.
    """
    smallest, largest = int(tokens.min(initial=0)), int(tokens.max(initial=0))
    if smallest < 0 or largest >= vocab_size:
        wrong = smallest if smallest < 0 else largest
        raise DataError(
            f"{where} holds the id {wrong}, the tokenizer has {vocab_size}.",
            "Set data.tokenizer to the tokenizer it was made with, or copy the files again.",
        )
