"""Random draws by number: a generator for each purpose, and permutations that need no list."""

from __future__ import annotations

import hashlib

import numpy as np

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
