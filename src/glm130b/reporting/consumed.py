"""The mixture of a run: what was planned of each source, and what the model was trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glm130b.config import RunConfig
from glm130b.corpus import open_prepared
from glm130b.instructions import InstructionStore
from glm130b.reporting.provenance import UNKNOWN
from glm130b.samples import Mixture, mixture_phases, sample_number


@dataclass(frozen=True)
class Consumed:
    """A row of the mixture: what was asked for of a source, and what the model was trained on.

    Attributes:
        planned: shares of the sequences, one a phase.
        sequences: trained on; ``share`` is their share, ``tokens`` their length, padding included.
        epochs: how often the source was gone through; None where its size is not known any more.
    """

    name: str
    kind: str
    planned: tuple[float, ...]
    sequences: int
    share: float
    tokens: int
    epochs: float | None
    sha256: str


def read_mixture(
    run: Path, config: RunConfig, state: dict[str, Any], stores: Mapping[str, InstructionStore | None]
) -> tuple[tuple[int, ...], tuple[Consumed, ...]]:
    """The samples at which the phases start, and a row for each source.

    The counts are arithmetic, like the order of the data itself.

    Args:
        state: of the checkpoint, ``training_state.json``.
        stores: instruction data by name; None where a folder is gone, so that its size is not known.

    Raises:
        DataError: the run's prepared sources are incomplete or damaged.
    """
    data, windows = config.data, config.objective.windows_per_sequence
    entries = open_prepared(run / "data", list(data.active_sources)).entries
    pieces = {name: entry["train"]["tokens"] // data.text_length for name, entry in entries.items()}
    texts, told = [name for name in data.active_sources if pieces[name]], list(stores)
    phases = mixture_phases(data, config.objective, texts, told)
    mixture = Mixture([*texts, *told], phases, config.seed)
    given = _given(mixture, int(state["samples"]), data.skip)
    total = max(1, sum(given.values()))
    sizes = pieces | {name: store.num_examples if store else 0 for name, store in stores.items()}
    rows = []
    for place, name in enumerate(mixture.names):
        drawn = given[name] * (windows if name in stores else 1)
        rows.append(
            Consumed(
                name=name,
                kind="instructions" if name in stores else "text",
                planned=tuple(float(phase.shares[place]) for phase in phases),
                sequences=given[name],
                share=given[name] / total,
                tokens=given[name] * data.seq_length,
                epochs=drawn / sizes[name] if sizes[name] else None,
                sha256=str(state["data_fingerprints"].get(name, UNKNOWN)),
            )
        )
    return tuple(phase.start for phase in phases), tuple(rows)


def _given(mixture: Mixture, consumed: int, skip: Sequence[tuple[int, int]]) -> dict[str, int]:
    """Sequences of each source among the first ``consumed`` that were drawn."""
    end = sample_number(consumed - 1, skip) + 1 if consumed else 0
    given = mixture.given(end)
    for first, last in skip:
        if first < end:
            before, after = mixture.given(first), mixture.given(last)
            given = {name: count - after[name] + before[name] for name, count in given.items()}
    return given
