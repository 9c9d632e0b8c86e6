"""The training data as an endless array: ``stream[i]`` is sequence i, whatever was read before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from glm130b.config import DataConfig, ObjectiveConfig
from glm130b.corpus import Tokens, check_ids
from glm130b.draws import generator, key, permute
from glm130b.errors import DataError
from glm130b.samples.blank import Sample, gmask_sample, mask_sample
from glm130b.samples.instruction import instruction_sample
from glm130b.samples.mixture import Mixture, single_phase
from glm130b.samples.phases import mixture_phases
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

Objective = Literal["mask", "gmask", "instruction"]


class Example(Protocol):
    """A prompt and its answer as token ids, int64."""

    @property
    def input(self) -> Integers:
        """The prompt."""

    @property
    def target(self) -> Integers:
        """The answer."""


class Examples(Protocol):
    """Instruction data: prompts and their answers by number."""

    @property
    def num_examples(self) -> int:
        """How many there are."""

    def example(self, index: int, /) -> Example:
        """One of them."""


@dataclass(frozen=True)
class Origin:
    """Where a sequence comes from.

    Attributes:
        index: its number.
        source: of text, or of instruction data.
        parts: the pieces of the source it is made of: one of text, or one example for each window.
        epoch: how often the source has been gone through before the first of them.
    """

    index: int
    source: str
    parts: tuple[int, ...]
    epoch: int
    objective: Objective


class SampleStream:
    """Sequences by number, a pure function of configuration, seed and data.

    Args:
        tokens: of each active source.
        instructions: of each name in ``data.instructions``.
        objective: forces one objective on all of the text, sources alike; default, each
            sequence's is drawn as the configuration says.

    Raises:
        DataError: no source holds a piece (one that does not is passed over), or instruction data hold no
            example.
    """

    def __init__(
        self,
        data: DataConfig,
        blanks: ObjectiveConfig,
        tokens: Mapping[str, Tokens],
        special: SpecialTokens,
        *,
        seed: int,
        vocab_size: int | None = None,
        instructions: Mapping[str, Examples] | None = None,
        objective: Objective | None = None,
    ) -> None:
        self._data, self._blanks, self._special, self._seed = data, blanks, special, seed
        self._vocab_size = vocab_size
        self._examples = dict(instructions or {}) if objective is None else {}
        pieces = {name: part.pieces(data.text_length) for name, part in tokens.items()}
        self._pieces = {name: part for name, part in pieces.items() if len(part)}
        self._spans = span_length_weights(blanks.average_span_length, blanks.max_span_length)
        self._check_not_empty(list(pieces))
        names = [*self._pieces, *self._examples]
        if objective is None:
            self._mixture = Mixture(names, mixture_phases(data, blanks, list(self._pieces), list(self._examples)), seed)
            shares = {"mask": blanks.mask_share, "gmask": 1 - blanks.mask_share}
        else:
            self._mixture = Mixture(names, single_phase([1.0] * len(names)), seed)
            shares = {objective: 1.0}
        self._objectives = Mixture(list(shares), single_phase(list(shares.values())), seed, "objective")

    def _check_not_empty(self, names: list[str]) -> None:
        if not self._pieces:
            raise DataError(
                f"Source {names[0]} has less than one piece of {self._data.text_length} tokens"
                + (", and so has every other." if len(names) > 1 else "."),
                "Add text, or lower data.seq_length.",
            )
        for name, examples in self._examples.items():
            if not examples.num_examples:
                raise DataError(f"The instruction data {name} holds no example.", "Build it again, or leave it out.")

    @property
    def pieces(self) -> dict[str, int]:
        """Pieces of text, or examples, in one epoch of each source."""
        return {name: self._count(name) for name in self._mixture.names}

    def _count(self, name: str) -> int:
        return self._examples[name].num_examples if name in self._examples else len(self._pieces[name])

    def shares(self, index: int) -> dict[str, float]:
        """The share of the sequences that each source is asked for at sequence ``index``."""
        return dict(zip(self._mixture.names, self._mixture.shares(index).tolist(), strict=True))

    def origin(self, index: int) -> Origin:
        """Source, pieces, epoch and objective of sequence ``index``."""
        rng = generator(key(self._seed, "replacement"), index)
        if self._data.order == "replacement":
            names, shares = self._mixture.names, self._mixture.shares(index)
            source, ordinal = names[int(rng.choice(len(names), p=shares))], 0
        else:
            source, ordinal = self._mixture.locate(index)
        count = self._count(source)
        num_parts = self._blanks.windows_per_sequence if source in self._examples else 1
        if self._data.order == "replacement":
            parts, epoch = tuple(int(rng.integers(count)) for _ in range(num_parts)), 0
        else:
            numbers = range(ordinal * num_parts, (ordinal + 1) * num_parts)
            parts, epoch = tuple(self._in_epoch(source, number, count) for number in numbers), numbers[0] // count
        drawn: Objective = self._objectives.locate(index)[0]  # type: ignore[assignment]
        return Origin(index, source, parts, epoch, "instruction" if source in self._examples else drawn)

    def _in_epoch(self, source: str, number: int, count: int) -> int:
        epoch, within = divmod(number, count)
        return permute(within, count, key(self._seed, "order", source, epoch))

    def text(self, origin: Origin) -> Integers:
        """The tokens a sequence of text is made of, int64 ``[data.text_length]``."""
        tokens = self._pieces[origin.source][origin.parts[0]]
        self._check(tokens, origin, origin.parts[0])
        return tokens

    def _check(self, tokens: Integers, origin: Origin, part: int) -> None:
        if self._vocab_size is not None:
            kind = "example" if origin.objective == "instruction" else "piece"
            check_ids(tokens, self._vocab_size, f"Source {origin.source}, {kind} {part},")

    def __getitem__(self, index: int) -> Sequence:
        origin = self.origin(index)
        seq_length, windows = self._data.seq_length, self._blanks.windows_per_sequence
        slot = seq_length // windows
        if origin.objective == "instruction":
            examples = self._examples[origin.source]
            chosen = [examples.example(number) for number in origin.parts]
            for part, example in zip(origin.parts, chosen, strict=True):
                self._check(np.concatenate((example.input, example.target)), origin, part)
            samples = [instruction_sample(it.input, it.target, slot, self._blanks, self._special) for it in chosen]
            return pack(samples, slot, seq_length)
        text = self.text(origin)
        rng = generator(key(self._seed, "blanks"), index)
        if origin.objective == "gmask":
            return pack([self._gmask(rng, text)], seq_length, seq_length)
        stride = len(text) // windows
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
