"""Dropout that is a pure function of a seed and a place, so that any layout, resume or recomputation repeats it.

Whether an entry is dropped is a hash of the row's seed, the use (which dropout of which layer) and the entry's
index in the whole tensor. A rank that holds some heads, or some positions, makes just its own part of the mask,
and the hash is plain integer arithmetic that a compiler fuses into what surrounds it.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import torch
from torch import Tensor

_MASK64 = (1 << 64) - 1
_MASK31 = (1 << 31) - 1

Part = tuple[int, int]
"""(i, n): the i-th of n equal parts of a tensor along its first dimension after the batch."""

WHOLE: Part = (0, 1)


def mix(*numbers: int) -> int:
    """One 63-bit number from several (SplitMix64)."""
    state = 0x9E3779B97F4A7C15
    for number in numbers:
        state = (state + (number & _MASK64) + 0x9E3779B97F4A7C15) & _MASK64
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK64
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK64
        state ^= state >> 31
    return state >> 1


def dropper(rate: float, seeds_B: Tensor | None, use: int, part: Part = WHOLE) -> Callable[[Tensor], Tensor] | None:
    """A function that drops ``rate`` of the entries of ``[B, …]`` and scales the rest; None for no dropout.

    Args:
        seeds_B: int64, one for each row of the batch; None turns dropout off.
        use: tells this use of dropout from the others of the same forward pass: ``mix`` of the numbers of its place,
            made beforehand, because a compiler may take a layer's number for a variable, which ``mix`` overflows.
        part: which part of every row's tensor is here. The whole has fewer than 2^31 entries a row.
    """
    if seeds_B is None or rate == 0.0:
        return None
    threshold = round(rate * (_MASK31 + 1))

    def drop(x: Tensor) -> Tensor:
        size = prod(x.shape[1:])
        index = torch.arange(part[0] * size, (part[0] + 1) * size, dtype=torch.int32, device=x.device)
        keys = (seeds_B.to(x.device) ^ use).view(-1, *[1] * (x.dim() - 1))
        low, high = (keys & _MASK31).int(), (keys >> 31 & _MASK31).int()
        hashed = _scramble(_scramble(index.view(x.shape[1:]) ^ low) ^ high)
        return x * ((hashed & _MASK31) >= threshold) * (1.0 / (1.0 - rate))

    return drop


def _scramble(x: Tensor) -> Tensor:
    """A permutation of 32-bit integers in which every input bit moves every output bit.

    Two multiplications and three shifts, with the constants of Wellons' search for low bias
    ("Prospecting for Hash Functions", 2018). Shifts of negative numbers bring in sign bits, masked off here.
    """
    x = x ^ (x >> 16 & 0xFFFF)
    x = x * 0x7FEB352D
    x = x ^ (x >> 15 & 0x1FFFF)
    x = x * (0x846CA68B - (1 << 32))
    return x ^ (x >> 16 & 0xFFFF)
