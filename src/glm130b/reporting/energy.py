"""The energy that training and measuring took, and how that number came about."""

from __future__ import annotations

import math
from dataclasses import dataclass

from glm130b.errors import ConfigError

PAPER_KWH, PAPER_CARBON = 442_400.0, 0.5810
"""GLM-130B's training, and kg of CO2 equivalent a kWh (GLM-130B, appendix H)."""

_HOW = "Give --energy KWH, --watts W (mean power of all machines together), or --energy unknown."


@dataclass(frozen=True)
class Energy:
    """Energy of training and evaluation together.

    Attributes:
        kwh: kilowatt-hours; None if nobody knows.
        how: where the number is from, as a sentence.
        carbon: kg of CO2 equivalent a kWh; None if it was not given.
    """

    kwh: float | None
    how: str
    carbon: float | None = None

    @property
    def kilograms(self) -> float | None:
        """CO2 equivalent."""
        return None if self.kwh is None or self.carbon is None else self.kwh * self.carbon

    @property
    def share_of_paper(self) -> float | None:
        """The same energy as a share of GLM-130B's."""
        return None if self.kwh is None else self.kwh / PAPER_KWH


def energy_of(
    energy: str | None,
    watts: float | None,
    carbon: float | None,
    *,
    training_hours: float | None,
    evaluation_hours: float,
) -> Energy | None:
    """The energy, from what was given; None if nothing was.

    Args:
        energy: kWh, or ``unknown``.
        watts: mean power of all machines together.
        carbon: kg of CO2 equivalent a kWh.
        training_hours: wall time; None if it is unknown.

    Raises:
        ConfigError: both were given, or what was given is no such number, or the hours are not known.
    """
    if carbon is not None and not _is_amount(carbon):
        raise ConfigError(f"--carbon {carbon:g} is not a number of kg a kWh.", "Give 0.581, for example.")
    if energy is not None and watts is not None:
        raise ConfigError(
            "--energy and --watts were both given.", "Give the energy if it was measured, else the power."
        )
    if energy == "unknown":
        return Energy(None, "The energy is not known: it was not measured, and the power is not known.")
    if energy is not None:
        try:
            kwh = float(energy)
        except ValueError:
            kwh = math.nan
        if not _is_amount(kwh):
            raise ConfigError(f"--energy {energy} is not a number of kWh.", _HOW)
        return Energy(kwh, "As given by whoever made this report, who measured it; of training and evaluation.", carbon)
    if watts is None:
        return None
    if not _is_amount(watts):
        raise ConfigError(f"--watts {watts:g} is not a power.", _HOW)
    if training_hours is None:
        raise ConfigError("--watts needs the hours of training, which are unknown.", _HOW)
    hours = training_hours + evaluation_hours
    how = (
        f"Estimated: {watts:,.0f} W, as given, times {hours:,.4g} hours ({training_hours:,.4g} of training by the "
        f"run's ledger or the facts, {evaluation_hours:,.4g} of evaluation)."
    )
    return Energy(watts * hours / 1000, how, carbon)


def _is_amount(value: float) -> bool:
    return math.isfinite(value) and value >= 0
