"""Settings of the training data: sources, mixture and objective."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from glm130b.config.section import NonNegative, Positive, Probability, Section
from glm130b.config.units import Amount, Number, Share


class SourceConfig(Section):
    """One body of text and its share of the mixture."""

    path: str
    """Documents (``.jsonl``, ``.jsonl.gz``, ``.jsonl.zst``, ``.parquet``, ``.txt``, a folder of them,
    ``bundled:en`` or ``bundled:zh``), tokenised into the run's folder; or token shards, used where they are:
    what ``glm data build`` made, a part of it, or any ``.idx`` file of Megatron's layout."""
    weight: Annotated[Share, Field(ge=0)] = 1.0
    """Share of the text sequences, relative to the other sources; 0 if only a later phase uses it, or if it is
    there for its held-out text alone."""


class InstructionsConfig(Section):
    """Instruction data that ``glm mip build`` made, and its share among several."""

    path: str
    weight: Annotated[Share, Field(ge=0)] = 1.0


def _absolute(when: Amount) -> Amount:
    if when.unit == "share":
        raise ValueError("a phase is placed by samples or tokens, so that a longer run has the same data")
    return when


Place = Annotated[Amount, AfterValidator(_absolute)]


class PhaseConfig(Section):
    """Another mixture from a sample on; what is not named stays as it was."""

    start: Place
    """Sample (or token) at which the mixture begins to change."""
    ramp: Place = Amount(0, "samples")
    """How long the linear way from the old shares to the new ones is."""
    weights: dict[str, Annotated[Share, Field(ge=0)]] = {}
    """New weights of sources and of instruction data, by name."""
    instruction_share: Probability | None = None


class DataConfig(Section):
    """Where the text comes from and how it is cut."""

    sources: dict[str, SourceConfig | None] = {
        "english": SourceConfig(path="bundled:en"),
        "chinese": SourceConfig(path="bundled:zh"),
    }
    """Sources by name, which becomes a file name; ``null`` takes an inherited one away."""
    instructions: dict[str, InstructionsConfig | None] = {}
    """Instruction data by name; ``objective.instruction_share`` says how much of the sequences it is."""
    phases: tuple[PhaseConfig, ...] = ()
    """Changes of the mixture during the run, in order."""
    skip: tuple[tuple[NonNegative, Positive], ...] = ()
    """Stretches of sample numbers left out, ``[first, end)`` each, in order."""
    tokenizer: str = "bundled"
    """A folder or ``.model`` file, or ``bundled``."""
    seq_length: Positive = 2048
    piece_length: Positive | None = None
    """Tokens of text in a sequence; default ``seq_length - 1``, the most that [gMASK] leaves room for."""
    heldout: Annotated[Share, Field(ge=0, le=0.5)] = 0.02
    """Share of the documents kept out of training, chosen by a hash of the document's id."""
    order: Literal["permutation", "replacement"] = "permutation"
    """Each piece once an epoch in a seeded order, or drawn anew each time as the authors did."""

    @property
    def text_length(self) -> int:
        """Tokens of text in one piece."""
        return self.piece_length or self.seq_length - 1

    @property
    def active_sources(self) -> dict[str, SourceConfig]:
        """The sources that were not taken away with ``null``."""
        return {name: source for name, source in self.sources.items() if source is not None}

    @property
    def active_instructions(self) -> dict[str, InstructionsConfig]:
        """The instruction data that was not taken away with ``null``."""
        return {name: source for name, source in self.instructions.items() if source is not None}

    @property
    def trained_sources(self) -> set[str]:
        """Names of sources and instruction data that have a weight at the start or in a phase."""
        given = [
            {name: source.weight for name, source in self.active_sources.items()},
            {name: source.weight for name, source in self.active_instructions.items()},
            *(phase.weights for phase in self.phases),
        ]
        return {name for weights in given for name, weight in weights.items() if weight}

    @model_validator(mode="after")
    def _names(self) -> Self:
        for name in (*self.sources, *self.instructions):
            if not re.fullmatch(r"\w[\w.-]*", name):
                raise ValueError(f"the source name {name!r} has to consist of letters, digits, dots, - and _")
        twice = self.active_sources.keys() & self.active_instructions.keys()
        if twice:
            raise ValueError(f"{min(twice)!r} names a source and instruction data; rename one of them")
        if len(self.active_sources) + len(self.active_instructions) > 1000:
            raise ValueError("more than 1000 sources cannot be interleaved; join some of them")
        if not self.active_sources:
            raise ValueError("no source is left (naming one replaces the bundled two)")
        return self

    @model_validator(mode="after")
    def _piece_fits(self) -> Self:
        if self.text_length > self.seq_length - 1:
            raise ValueError(
                f"piece_length {self.text_length} does not fit seq_length {self.seq_length}: [gMASK] needs one more"
            )
        return self

    @model_validator(mode="after")
    def _phases_follow(self) -> Self:
        weights = {name: source.weight for name, source in self.active_sources.items()}
        weights |= {name: source.weight for name, source in self.active_instructions.items()}
        end = 0
        for phase in (None, *self.phases):
            if phase is not None:
                start, ramp = (self._samples(amount) for amount in (phase.start, phase.ramp))
                if start < max(end, 1):
                    raise ValueError(f"a phase starts at sample {start}, before the one before it is reached")
                end = start + ramp
                unknown = phase.weights.keys() - weights.keys()
                if unknown:
                    raise ValueError(f"a phase gives {min(unknown)!r} a weight, which is no source")
                if phase.instruction_share and not self.active_instructions:
                    raise ValueError(
                        "a phase has an instruction_share, but data.instructions names no instruction data"
                    )
                weights |= phase.weights
            if not any(weights[name] for name in self.active_sources):
                raise ValueError(f"all of {', '.join(self.active_sources)} have weight 0 at once")
        return self

    def _samples(self, amount: Amount) -> int:
        return amount.samples(total=0, seq_length=self.seq_length)

    @model_validator(mode="after")
    def _skip_in_order(self) -> Self:
        before = 0
        for first, end in self.skip:
            if first < before or end <= first:
                raise ValueError(f"skip: [{first}, {end}) is empty or not after the stretch before it")
            before = end
        return self


class ObjectiveConfig(Section):
    """Autoregressive blank infilling (GLM-130B, section 2.2 and configuration table)."""

    mask_share: Probability = 0.3
    """Share of the sequences with [MASK]; the others have [gMASK]."""
    instruction_share: Probability = 0.0
    """Share of the sequences with prompted instruction data (MIP), until a phase says otherwise."""
    instruction_positions: Literal["running", "repeated"] = "running"
    """Positions of an instruction's answer: run on after its mask, as the authors trained, or repeat the mask's."""
    instruction_gmask_above: NonNegative | None = None
    """Answers of more tokens than this follow [gMASK] rather than [MASK]; the authors always had [MASK]."""
    windows_per_sequence: Positive = 4
    """[MASK] windows packed into one sequence."""
    mask_ratio: Annotated[Share, Field(gt=0, lt=0.5)] = 0.15
    average_span_length: Annotated[Number, Field(gt=0)] = 3.0
    """Mean of the Poisson law whose weights of 1, 2, … give the span lengths."""
    max_span_length: Positive = 39
    short_window_probability: Probability = 0.02
    short_window_min_length: Positive = 32
    single_span_probability: Probability = 0.02
    min_gmask_ratio: Annotated[Share, Field(gt=0, le=1)] = 0.2
    overflow: Literal["fit", "cut"] = "fit"
    """``fit`` shortens the window so that no answer is lost; ``cut`` loses what sticks out, as the authors did."""
