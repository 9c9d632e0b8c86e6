"""Which piece of which source sample number i is made of, without any list as long as an epoch."""

from __future__ import annotations

import hashlib
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

_BLOCK = 1000
_ROUNDS = 6


def key(*parts: object) -> int:
    """A 64-bit key that says what a random draw is for."""
    text = "/".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def generator(key: int, index: int) -> np.random.Generator:
    """The random numbers of draw ``index`` under ``key`` (Philox, counter-based)."""
    return np.random.Generator(np.random.Philox(key=np.array([key, index], dtype=np.uint64)))


def permute(index: int, size: int, key: int) -> int:
    """Image of ``index`` under the permutation of ``0 … size - 1`` that ``key`` names.

    A Feistel network on the next even number of bits, walked until it lands inside.
    """
    half = max(1, ((size - 1).bit_length() + 1) // 2)
    mask = (1 << half) - 1
    while True:
        left, right = index >> half, index & mask
        for turn in range(_ROUNDS):
            mixed = (right + key + turn * 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
            mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
            mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
            left, right = right, left ^ ((mixed ^ (mixed >> 31)) & mask)
        index = (left << half) | right
        if index < size:
            return index


class Mixture:
    """Interleaves sources by weight: every block of 1000 samples holds each source's exact share, shuffled.

    So the number of samples a source has given before sample i is arithmetic within i's block, and each
    source runs through its pieces once an epoch, one epoch after the other.
    """

    def __init__(self, weights: dict[str, float], seed: int) -> None:
        self._names = list(weights)
        self._counts = _whole_shares(np.array(list(weights.values())), _BLOCK)
        self._seed = seed
        self._block = lru_cache(maxsize=8)(self._make_block)

    def _make_block(self, block: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Source of each sample of a block, and how many of that source come before it in the block."""
        sources = np.repeat(np.arange(len(self._counts)), self._counts)
        generator(key(self._seed, "mixture"), block).shuffle(sources)
        before = np.empty_like(sources)
        for source, count in enumerate(self._counts):
            before[sources == source] = np.arange(count)
        return sources, before

    def locate(self, index: int) -> tuple[str, int]:
        """Source of sample ``index``, and how many samples that source has given before."""
        block, within = divmod(index, _BLOCK)
        sources, before = self._block(block)
        source = sources[within]
        return self._names[source], block * int(self._counts[source]) + int(before[within])

    def piece(self, index: int, pieces: dict[str, int]) -> tuple[str, int, int]:
        """Source, piece and epoch of sample ``index``; ``pieces`` counts what each source holds."""
        name, ordinal = self.locate(index)
        epoch, within = divmod(ordinal, pieces[name])
        return name, permute(within, pieces[name], key(self._seed, "order", name, epoch)), epoch


def _whole_shares(weights: NDArray[np.float64], total: int) -> NDArray[np.int64]:
    """``total`` split by weight into whole numbers, none of them 0, each as close as can be."""
    exact = weights / weights.sum() * total
    counts: NDArray[np.int64] = np.maximum(np.floor(exact), 1).astype(np.int64)
    while counts.sum() < total:
        counts[np.argmax(exact - counts)] += 1
    while counts.sum() > total:
        counts[np.argmax(np.where(counts > 1, counts - exact, -np.inf))] -= 1
    return counts


def draw_piece(index: int, weights: dict[str, float], pieces: dict[str, int], seed: int) -> tuple[str, int, int]:
    """The authors' way: a source by weight, then a piece of it, both with replacement; there are no epochs."""
    rng = generator(key(seed, "replacement"), index)
    shares = np.array(list(weights.values()))
    name = list(weights)[int(rng.choice(len(shares), p=shares / shares.sum()))]
    return name, int(rng.integers(pieces[name])), 0
