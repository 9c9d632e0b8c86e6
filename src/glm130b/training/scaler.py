"""Dynamic loss scale for FP16: what it is after each step follows from what it was and whether gradients overflowed.

The scale is halved by an overflow once ``hysteresis`` of them have come since it last grew (or began), is doubled
after ``window`` steps without one, and never falls below ``floor`` (GLM-130B, table of the full configuration; the
rules are those of the authors' engine). The decision is taken from one flag that all ranks share, so it is the same
on all of them; PyTorch's own scaler decides rank by rank, and pipeline stages drift apart.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from glm130b.config import LossScaleConfig


@dataclass(frozen=True)
class LossScale:
    """State of the scaler.

    Attributes:
        scale: what the loss is multiplied by.
        clean_steps: steps since the last overflow or growth.
        overflows: since the scale last grew.
        in_a_row: overflows without a step between them.
    """

    scale: float
    clean_steps: int = 0
    overflows: int = 0
    in_a_row: int = 0

    def after(self, finite: bool, config: LossScaleConfig) -> LossScale:
        """The state after a step whose gradients were finite, and applied, or not."""
        if not finite:
            halved = self.scale if self.overflows + 1 < config.hysteresis else self.scale / 2
            return LossScale(max(halved, float(config.floor)), 0, self.overflows + 1, self.in_a_row + 1)
        if self.clean_steps + 1 >= config.window:
            return LossScale(self.scale * 2)
        return replace(self, clean_steps=self.clean_steps + 1, in_a_row=0)

    def at_floor(self, config: LossScaleConfig) -> bool:
        """Whether another overflow could not lower it."""
        return self.scale <= config.floor
