"""Which source sample number i comes from, and how many that source has given before: the mixture."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from glm130b.draws import generator, key
from glm130b.samples.spans import Integers

_BLOCK = 1000
_CYCLE = 100
"""Blocks after which unchanging shares have been realised exactly."""

_RAMP_STEPS = 50

Shares = NDArray[np.float64]


@dataclass(frozen=True)
class Phase:
    """Shares that hold from ``start + ramp`` on, after a linear way there from the shares before ``start``.

    Attributes:
        start, ramp: in samples.
        shares: of each source, summing to 1.
    """

    start: int
    ramp: int
    shares: Shares


@dataclass(frozen=True)
class _Segment:
    """A stretch of blocks of one size, whose counts come again after a cycle.

    Attributes:
        start: its first sample.
        size: samples in a block.
        counts: samples of each source in each block of the cycle, ``[blocks, sources]``.
        before: samples of each source before each block of the first cycle, earlier segments included.
    """

    start: int
    size: int
    counts: Integers
    before: Integers

    def given(self, block: int) -> Integers:
        """Samples of each source before a block of the segment."""
        cycle, row = divmod(block, len(self.counts))
        given: Integers = self.before[row] + cycle * (self.before[-1] + self.counts[-1] - self.before[0])
        return given


class Mixture:
    """Interleaves sources by shares that may change, a pure function of the sample's number.

    The samples fall into blocks of 1000 (in a ramp, of a fiftieth of it if that is less). A block holds a whole
    number of each source's samples, shuffled, and what rounding takes from a source it gets in the next; so the
    realised shares are exact, and the number of samples a source has given before sample i is arithmetic.
    Changing what comes after a sample changes nothing before it.

    Args:
        names: of the sources.
        phases: the first starts at 0 without a ramp; each starts when the one before it is reached.
        seed: chooses the shuffles.
        purpose: tells mixtures of one seed apart.
    """

    def __init__(self, names: Sequence[str], phases: Sequence[Phase], seed: int, purpose: str = "mixture") -> None:
        self.names = tuple(names)
        self._phases = tuple(phases)
        self._seed, self._purpose = seed, purpose
        self._block = lru_cache(maxsize=8)(self._make_block)
        self._segments: list[_Segment] = []
        before = np.zeros(len(names), dtype=np.int64)
        for number, phase in enumerate(phases):
            if phase.ramp:
                size, wanted = _ramp(phases[number - 1].shares, phase.shares, phase.ramp)
                self._append(phase.start, size, wanted, before)
                before = self._counts(phase.start + phase.ramp)
            exact = whole_shares(phase.shares, _BLOCK * _CYCLE) / (_BLOCK * _CYCLE)
            self._append(phase.start + phase.ramp, _BLOCK, np.tile(exact, (_CYCLE, 1)), before)
            if number + 1 < len(phases):
                before = self._counts(phases[number + 1].start)
        self._starts = [segment.start for segment in self._segments]

    def _append(self, start: int, size: int, wanted: Shares, before: Integers) -> None:
        counts = _apportion(wanted, size)
        self._segments.append(_Segment(start, size, counts, before + np.cumsum(counts, axis=0) - counts))

    def _counts(self, index: int, number: int = -1) -> Integers:
        """Samples of each source before sample ``index``, which lies in a segment (the last so far) or at its end."""
        segment_number = number % len(self._segments)
        segment = self._segments[segment_number]
        block, within = divmod(index - segment.start, segment.size)
        given = segment.given(block)
        if within:
            sources, _ = self._block(segment_number, block)
            given = given + np.bincount(sources[:within], minlength=len(self.names))
        return given

    def _make_block(self, segment_number: int, block: int) -> tuple[Integers, Integers]:
        """Source of each sample of a block, and how many of that source come before it in the block."""
        segment = self._segments[segment_number]
        counts = segment.counts[block % len(segment.counts)]
        sources = np.repeat(np.arange(len(counts)), counts)
        generator(key(self._seed, self._purpose, segment.start), block).shuffle(sources)
        order = np.argsort(sources, kind="stable")
        before = np.empty_like(sources)
        before[order] = np.arange(len(sources)) - np.repeat(np.cumsum(counts) - counts, counts)
        return sources, before

    def locate(self, index: int) -> tuple[str, int]:
        """Source of sample ``index``, and how many samples that source has given before."""
        number = bisect_right(self._starts, index) - 1
        segment = self._segments[number]
        block, within = divmod(index - segment.start, segment.size)
        sources, before = self._block(number, block)
        source = int(sources[within])
        return self.names[source], int(segment.given(block)[source]) + int(before[within])

    def given(self, index: int) -> dict[str, int]:
        """How many samples each source has given before sample ``index``."""
        counts = self._counts(index, bisect_right(self._starts, index) - 1)
        return dict(zip(self.names, counts.tolist(), strict=True))

    def shares(self, index: int) -> Shares:
        """The shares asked for at sample ``index``."""
        number = bisect_right([phase.start for phase in self._phases], index) - 1
        phase = self._phases[number]
        if index >= phase.start + phase.ramp:
            return phase.shares
        part = (index - phase.start) / phase.ramp
        mixed: Shares = (1 - part) * self._phases[number - 1].shares + part * phase.shares
        return mixed


def _ramp(old: Shares, new: Shares, length: int) -> tuple[int, Shares]:
    """Block size of a ramp, and the shares in the middle of each block."""
    size = min(_BLOCK, -(-length // _RAMP_STEPS))
    starts = np.arange(0, length, size)
    part = ((starts + np.minimum(size, length - starts) / 2) / length)[:, None]
    return size, (1 - part) * old + part * new


def _apportion(wanted: Shares, size: int) -> Integers:
    """Samples of each source in each block, ``[blocks, sources]``; rounding errors are carried on."""
    counts = np.zeros(wanted.shape, dtype=np.int64)
    owed = np.zeros(wanted.shape[1])
    for block, shares in enumerate(wanted):
        owed = owed + shares * size
        counts[block] = _round_to(np.maximum(owed, 0), size, shares > 0)
        owed = owed - counts[block]
    return counts


def single_phase(weights: Sequence[float]) -> list[Phase]:
    """Shares that never change."""
    return [Phase(0, 0, np.array(weights, dtype=np.float64) / math.fsum(weights))]


def whole_shares(shares: Shares, total: int) -> Integers:
    """``total`` split by shares that sum to 1 into whole numbers, as close as can be; only 0 becomes 0."""
    least = (shares > 0).astype(np.int64)
    return least + _round_to(np.maximum(shares * total - least, 0), total - int(least.sum()), shares > 0)


def _round_to(exact: Shares, total: int, allowed: NDArray[np.bool_]) -> Integers:
    """Whole numbers near ``exact`` whose sum is ``total``; what is not allowed stays 0."""
    counts: Integers = np.floor(exact).astype(np.int64)
    while counts.sum() < total:
        counts[np.argmax(np.where(allowed, exact - counts, -np.inf))] += 1
    while counts.sum() > total:
        counts[np.argmax(np.where(counts > 0, counts - exact, -np.inf))] -= 1
    return counts
