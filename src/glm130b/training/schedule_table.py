"""The schedules of a run as a table: one row where something begins or ends, in absolute samples."""

from __future__ import annotations

import textwrap
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from glm130b.config import DataConfig, InstructionsConfig, RunConfig
from glm130b.samples import mixture_phases, sample_number
from glm130b.training.schedule import Move, Schedule, value_at

_NAMELESS = "(instructions)"
"""Stands for instruction data that there is a share of and no name yet; no source can be called so."""

_CHANGE = "mixture"
"""The events of the mixture begin with it."""

_HEADINGS = ("sample", "after step", "tokens", "learning rate", "batch", "alpha", "what")
_WIDTH = 120


@dataclass(frozen=True)
class Row:
    """What holds from one sample on. Steps that an overflow may skip are not counted in.

    Attributes:
        sample: samples trained on before it.
        step: steps that begin before it.
        tokens: the samples' tokens, padding included.
        learning_rate, alpha: of a step that begins here.
        batch_size: sequences of a step that begins here; 0 at the end of the run.
        mixture: share of all sequences that each source of text, and of instructions, is asked for.
        objectives: share of all sequences with ``mask``, ``gmask`` and ``instruction``.
        events: what begins or ends here, in words.
    """

    sample: int
    step: int
    tokens: int
    learning_rate: float
    batch_size: int
    alpha: float
    mixture: dict[str, float]
    objectives: dict[str, float]
    events: tuple[str, ...]


class _Mixture:
    """The shares that a configuration asks for, by samples trained on; ``data.skip`` taken into account."""

    def __init__(self, config: RunConfig) -> None:
        self._skip, self._mask_share = config.data.skip, config.objective.mask_share
        data = _with_instructions(config.data, config.objective.instruction_share)
        texts, self._instructions = list(data.active_sources), list(data.active_instructions)
        self._names = [*texts, *self._instructions]
        first, *self._later = mixture_phases(data, config.objective, texts, self._instructions)
        self._initial: list[float] = first.shares.tolist()

    def events(self) -> Iterator[tuple[int, str]]:
        for phase in self._later:
            yield self._trained(phase.start), f"{_CHANGE} begins to change" if phase.ramp else f"{_CHANGE} changes"
            if phase.ramp:
                yield self._trained(phase.start + phase.ramp), f"{_CHANGE} is reached"
        for first, end in self._skip:
            yield self._trained(first), f"data.skip leaves out sequences {first:,} to {end - 1:,}"

    def _trained(self, number: int) -> int:
        """Samples trained on before sequence ``number``."""
        return number - sum(max(0, min(end, number) - first) for first, end in self._skip)

    def shares(self, sample: int) -> dict[str, float]:
        number = sample_number(sample, self._skip)
        return {
            name: value_at(
                initial, [Move(phase.start, phase.ramp, float(phase.shares[place])) for phase in self._later], number
            )
            for place, (name, initial) in enumerate(zip(self._names, self._initial, strict=True))
        }

    def objectives(self, shares: dict[str, float]) -> dict[str, float]:
        told = sum(shares[name] for name in self._instructions)
        return {
            "mask": (1 - told) * self._mask_share,
            "gmask": (1 - told) * (1 - self._mask_share),
            "instruction": told,
        }


def _with_instructions(data: DataConfig, share: float) -> DataConfig:
    """The same data, with a stand-in for instruction data that are still to be made."""
    if not share or data.active_instructions:
        return data
    return data.model_copy(update={"instructions": {_NAMELESS: InstructionsConfig(path="")}})


def schedule_table(config: RunConfig) -> list[Row]:
    """One row at each sample where a schedule of the run begins, ends or turns, the first and last of the run.

    What a configuration places after the end of the run is named in the last row.

    Raises:
        ConfigError: changes of alpha overlap, or a mixture cannot be had.
    """
    schedule, mixture = Schedule.of(config), _Mixture(config)
    found: defaultdict[int, list[str]] = defaultdict(list)
    never: list[str] = []
    for sample, text in (*_events(schedule, config), *mixture.events()):
        if sample <= schedule.total:
            found[sample].append(text)
        else:
            never.append(f"never reached: {text} ({sample:,})")
    found[schedule.total] += ["end of the run", *never]
    return [_row(sample, tuple(found[sample]), schedule, mixture, config.data.seq_length) for sample in sorted(found)]


def _events(schedule: Schedule, config: RunConfig) -> Iterator[tuple[int, str]]:
    yield 0, "start"
    if schedule.warmup:
        yield schedule.warmup, "warm-up ends"
    if schedule.batch_ramp and schedule.batch_start < schedule.batch_end:
        steps = schedule.steps_before(schedule.batch_ramp)
        yield schedule.batch_ramp, f"batch ramp ends, {steps:,} steps"
    for move in schedule.alpha_moves:
        yield move.at, f"alpha {'begins to move' if move.over else 'changes'} to {move.to:g}"
        if move.over:
            yield move.end, f"alpha is {move.to:g}"
    yield schedule.decay, "rate reaches its minimum"
    last = config.train.max_steps
    if last is not None and last < schedule.steps_before(schedule.total):
        yield _samples_after(schedule, last), "train.max_steps stops the run"


def _samples_after(schedule: Schedule, steps: int) -> int:
    """Samples trained on in the first so many steps."""
    return bisect_right(range(schedule.total + 1), steps, key=schedule.steps_before) - 1


def _row(sample: int, events: tuple[str, ...], schedule: Schedule, mixture: _Mixture, seq_length: int) -> Row:
    shares = mixture.shares(sample)
    return Row(
        sample,
        schedule.steps_before(sample),
        sample * seq_length,
        schedule.learning_rate(sample),
        schedule.batch_size(sample),
        schedule.alpha(sample),
        shares,
        mixture.objectives(shares),
        events,
    )


def table_text(rows: Sequence[Row]) -> str:
    """The rows as aligned lines; below them the mixture where it begins to change and where it is reached."""
    cells = [_HEADINGS, *map(_cells, rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = []
    for line in cells:
        numbers = "  ".join(f"{cell:>{width}}" for cell, width in zip(line[:-1], widths, strict=False))
        lines.append(f"{numbers}  {line[-1]}".rstrip())
    return "\n".join([*lines, "", *_mixture_lines(rows, widths[0])])


def _cells(row: Row) -> tuple[str, ...]:
    return (
        f"{row.sample:,}",
        f"{row.step:,}",
        f"{row.tokens:,}",
        f"{row.learning_rate:.4g}",
        f"{row.batch_size:,}" if row.batch_size else "-",
        f"{row.alpha:.4g}",
        "; ".join(row.events),
    )


def _mixture_lines(rows: Sequence[Row], width: int) -> Iterator[str]:
    yield f"{'sample':>{width}}  mixture"
    kinds = {"[MASK]": "mask", "[gMASK]": "gmask", "instructions": "instruction"}
    for row in rows:
        if row.sample and not any(event.startswith(_CHANGE) for event in row.events):
            continue
        text = f"{_shares(row.mixture)}; {_shares({name: row.objectives[kind] for name, kind in kinds.items()})}"
        first, others = f"{row.sample:>{width},}  ", " " * (width + 2)
        yield from textwrap.wrap(
            text, _WIDTH, initial_indent=first, subsequent_indent=others, break_long_words=False, break_on_hyphens=False
        )


def _shares(shares: dict[str, float]) -> str:
    return ", ".join(f"{name} {100 * share:.4g}%" for name, share in shares.items() if share)
