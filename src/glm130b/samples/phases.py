"""From the configuration to the phases of a mixture, and from consumed sequences to numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from glm130b.config import Amount, DataConfig, ObjectiveConfig
from glm130b.errors import ConfigError
from glm130b.samples.mixture import Phase


def mixture_phases(
    data: DataConfig, blanks: ObjectiveConfig, texts: Sequence[str], instructions: Sequence[str]
) -> list[Phase]:
    """The shares of text sources and of instruction data, in this order, by phase.

    Instruction data share ``instruction_share`` by weight, text sources the rest.

    Raises:
        ConfigError: there is a share of instruction data but none of it.
    """
    weights = {name: source.weight for name, source in data.active_sources.items()}
    weights |= {name: source.weight for name, source in data.active_instructions.items()}
    share = blanks.instruction_share
    if share and not instructions:
        raise ConfigError(
            "objective.instruction_share is set, but data.instructions names no instruction data.",
            "Make some with `glm mip build`, or set the share to 0.",
        )

    def shares() -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        text, told = (np.array([weights[name] for name in names]) for names in (texts, instructions))
        parts = [(1 - share) * text / text.sum()]
        if len(told):
            parts.append(share * told / told.sum())
        return np.concatenate(parts)

    def samples(amount: Amount) -> int:
        return amount.samples(total=0, seq_length=data.seq_length)

    phases = [Phase(0, 0, shares())]
    for change in data.phases:
        weights |= change.weights
        share = share if change.instruction_share is None else change.instruction_share
        phases.append(Phase(samples(change.start), samples(change.ramp), shares()))
    return phases


def sample_number(consumed: int, skip: Sequence[tuple[int, int]]) -> int:
    """Number of the sequence that is drawn after ``consumed`` others, where stretches of numbers are left out.

    Args:
        skip: ``[first, end)``, in order, not overlapping.
    """
    for first, end in skip:
        if consumed < first:
            break
        consumed += end - first
    return consumed


def settings_seen(data: DataConfig, consumed: int) -> dict[str, Any]:
    """The settings of ``data`` that decide its first ``consumed`` sequences, as plain values.

    Phases, skipped stretches and sources that only come later may still be changed. The order of the sources is
    part of it.
    """
    tree = data.model_dump(mode="json")
    reached = sample_number(consumed - 1, data.skip) + 1 if consumed else 0
    begun = [phase for phase in data.phases if phase.start.samples(total=0, seq_length=data.seq_length) < reached]
    used = {name for phase in begun for name, weight in phase.weights.items() if weight}
    tree["phases"] = tree["phases"][: len(begun)]
    tree["skip"] = [stretch for stretch in tree["skip"] if stretch[0] < reached]
    for group, sources in (("sources", data.active_sources), ("instructions", data.active_instructions)):
        tree[group] = {
            name: {**tree[group][name], "place": place}
            for place, name in enumerate(name for name in sources if name in used or sources[name].weight)
        }
    return tree
