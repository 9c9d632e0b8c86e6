"""From the configuration to the phases of a mixture, and from consumed sequences to numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from glm130b.config import DataConfig, ObjectiveConfig
from glm130b.errors import ConfigError
from glm130b.samples.mixture import Phase


def mixture_phases(
    data: DataConfig, blanks: ObjectiveConfig, texts: Sequence[str], instructions: Sequence[str]
) -> list[Phase]:
    """The shares of text sources and of instruction data, in this order, by phase.

    Instruction data share ``instruction_share`` by weight, text sources the rest.

    Raises:
        ConfigError: there is a share of instruction data but none of it, or none with a weight; or no text has.
    """
    weights = {name: source.weight for name, source in data.active_sources.items()}
    weights |= {name: source.weight for name, source in data.active_instructions.items()}
    share = blanks.instruction_share

    def shares(start: int) -> list[float]:
        # fsum: sources of weight 0 must not move the others' shares by a rounding error.
        text, told = (math.fsum(weights[name] for name in names) for names in (texts, instructions))
        if not text:
            raise ConfigError(
                f"From sample {start} on, no source that is long enough for a piece has a weight.",
                "Weigh another source, add text, or lower data.seq_length.",
            )
        if share and not told:
            what = "gives none of it a weight" if instructions else "names no instruction data"
            raise ConfigError(
                f"From sample {start} on, {share:.3g} of the sequences are to be instructions, but data.instructions "
                f"{what}.",
                "Make some with `glm mip build`, weigh it, or set objective.instruction_share to 0.",
            )
        found = [(1 - share) * weights[name] / text for name in texts]
        return found + [share * weights[name] / told if share else 0.0 for name in instructions]

    phases = [Phase(0, 0, np.array(shares(0)))]
    for change in data.phases:
        weights |= change.weights
        share = share if change.instruction_share is None else change.instruction_share
        start, ramp = (amount.samples(total=0, seq_length=data.seq_length) for amount in (change.start, change.ramp))
        phases.append(Phase(start, ramp, np.array(shares(start))))
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


def settings_seen(data: DataConfig, blanks: ObjectiveConfig, consumed: int) -> dict[str, Any]:
    """The settings of ``data`` that decide its first ``consumed`` sequences, as plain values.

    Phases, skipped stretches and sources that only come later may still be changed, and the folders that
    sources lie in. The order of the sources is part of it.
    """
    tree = data.model_dump(mode="json")
    reached = sample_number(consumed - 1, data.skip) + 1 if consumed else 0
    groups = {"sources": list(data.active_sources), "instructions": list(data.active_instructions)}
    names = [name for group in groups.values() for name in group]
    begun = [phase for phase in mixture_phases(data, blanks, *groups.values()) if phase.start < max(reached, 1)]
    used = {name for phase in begun for name, share in zip(names, phase.shares, strict=True) if share}
    tree["phases"] = tree["phases"][: len(begun) - 1]
    tree["skip"] = [stretch for stretch in tree["skip"] if stretch[0] < reached]
    for group, members in groups.items():
        kept = [name for name in members if name in used]
        tree[group] = {name: {"weight": tree[group][name]["weight"], "place": kept.index(name)} for name in kept}
    return tree
