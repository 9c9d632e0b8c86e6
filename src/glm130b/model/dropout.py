"""Dropout that is a pure function of a seed, so that any layout, resume or recomputation repeats it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

_MASK64 = (1 << 64) - 1


def mix(*numbers: int) -> int:
    """One 63-bit number from several (SplitMix64)."""
    state = 0x9E3779B97F4A7C15
    for number in numbers:
        state = (state + (number & _MASK64) + 0x9E3779B97F4A7C15) & _MASK64
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK64
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK64
        state ^= state >> 31
    return state >> 1


def dropper(rate: float, seeds: Sequence[int] | None, *place: int) -> Callable[[Tensor], Tensor] | None:
    """A function that drops ``rate`` of the entries of ``[B, …]`` and scales the rest; None for no dropout.

    Args:
        seeds: one number for each row of the batch; None turns dropout off.
        place: numbers that tell this use of dropout from the others of the same forward pass.
    """
    if seeds is None or rate == 0.0:
        return None

    def drop(x: Tensor) -> Tensor:
        keep = torch.empty_like(x, dtype=torch.bool)
        generator = torch.Generator(device=x.device)
        for row, seed in enumerate(seeds):
            generator.manual_seed(mix(seed, *place))
            keep[row].bernoulli_(1.0 - rate, generator=generator)
        return x * keep * (1.0 / (1.0 - rate))

    return drop
