"""The training data as an endless array: ``stream[i]`` is sequence i, whatever was read before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from glm130b.config import DataConfig, ObjectiveConfig
from glm130b.corpus import TokenShard
from glm130b.errors import DataError
from glm130b.samples import order
from glm130b.samples.blank import Sample, gmask_sample, mask_sample
from glm130b.samples.sequence import Sequence, pack
from glm130b.samples.spans import (
    Integers,
    clip_spans,
    draw_span_lengths,
    fit_window,
    place_spans,
    span_length_weights,
    spans_needed,
)
from glm130b.tokenization import SpecialTokens

Objective = Literal["mask", "gmask"]


@dataclass(frozen=True)
class Origin:
    """Where a sequence comes from."""

    index: int
    source: str
    piece: int
    epoch: int
    objective: Objective


class SampleStream:
    """Sequences by number, a pure function of configuration, seed and shards.

    Args:
        shards: tokens of each active source.
        objective: forces one objective; default, drawn per sequence as the configuration says.
    """

    def __init__(
        self,
        data: DataConfig,
        blanks: ObjectiveConfig,
        shards: dict[str, TokenShard],
        special: SpecialTokens,
        *,
        seed: int,
        objective: Objective | None = None,
    ) -> None:
        self._data, self._blanks, self._shards, self._special = data, blanks, shards, special
        self._seed, self._objective = seed, objective
        self._weights = {name: data.active_sources[name].weight for name in shards}
        self._pieces = {name: shard.num_tokens // data.text_length for name, shard in shards.items()}
        self._mixture = order.Mixture(self._weights, seed)
        self._spans = span_length_weights(blanks.average_span_length, blanks.max_span_length)
        empty = [name for name, count in self._pieces.items() if count == 0]
        if empty:
            raise DataError(
                f"Source {empty[0]} has less than one piece of {data.text_length} tokens.",
                "Add text, or lower data.seq_length.",
            )

    @property
    def pieces(self) -> dict[str, int]:
        """Pieces in one epoch of each source."""
        return dict(self._pieces)

    def origin(self, index: int) -> Origin:
        """Source, piece, epoch and objective of sequence ``index``."""
        if self._data.order == "replacement":
            source, piece, epoch = order.draw_piece(index, self._weights, self._pieces, self._seed)
        else:
            source, piece, epoch = self._mixture.piece(index, self._pieces)
        draw = order.generator(order.key(self._seed, "objective"), index).random()
        drawn: Objective = "mask" if draw < self._blanks.mask_share else "gmask"
        return Origin(index, source, piece, epoch, self._objective or drawn)

    def text(self, origin: Origin) -> Integers:
        """The tokens a sequence is made of, int64 ``[data.text_length]``."""
        length = self._data.text_length
        tokens = self._shards[origin.source].tokens[origin.piece * length : (origin.piece + 1) * length]
        return tokens.astype(np.int64)

    def __getitem__(self, index: int) -> Sequence:
        origin = self.origin(index)
        text = self.text(origin)
        rng = order.generator(order.key(self._seed, "blanks"), index)
        seq_length = self._data.seq_length
        if origin.objective == "gmask":
            return pack([self._gmask(rng, text)], seq_length, seq_length)
        windows = self._blanks.windows_per_sequence
        slot, stride = seq_length // windows, len(text) // windows
        samples = [self._mask(rng, text[n * stride : (n + 1) * stride], slot) for n in range(windows)]
        return pack(samples, slot, seq_length)

    def _gmask(self, rng: np.random.Generator, text: Integers) -> Sample:
        least = max(1, int(self._blanks.min_gmask_ratio * len(text)))
        return gmask_sample(text, int(rng.integers(least, len(text), endpoint=True)), self._special)

    def _mask(self, rng: np.random.Generator, text: Integers, slot: int) -> Sample:
        blanks, longest = self._blanks, len(text)
        if rng.random() < blanks.short_window_probability:
            least = min(blanks.short_window_min_length, longest)
            longest = int(rng.integers(least, longest, endpoint=True))
        single = rng.random() < blanks.single_span_probability
        lengths = draw_span_lengths(rng, self._spans, 1 if single else int(blanks.mask_ratio * longest) + 1)
        if blanks.overflow == "fit":
            window, count = fit_window(lengths, blanks.mask_ratio, longest, slot)
        else:
            window, count = longest, spans_needed(lengths, blanks.mask_ratio, longest)
        lengths = clip_spans(lengths[:count], window)
        starts = place_spans(rng, lengths, window)
        sample = mask_sample(text[:window], starts, lengths, rng.permutation(len(lengths)), self._special)
        return sample.cut(slot)
