"""How far a run has come."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """How far a run has come: all that the order of the data and the schedules depend on.

    Attributes:
        step: steps taken, those included that were not applied.
        samples: sequences drawn: the whole state of the data order.
        skipped_steps: steps not applied, because FP16 gradients overflowed.
        skipped_samples: sequences drawn for them.
    """

    step: int = 0
    samples: int = 0
    skipped_steps: int = 0
    skipped_samples: int = 0

    @property
    def trained(self) -> int:
        """Sequences trained on: what the schedules go by."""
        return self.samples - self.skipped_samples

    @property
    def updates(self) -> int:
        """Times the optimizer moved the parameters: AdamW's own step counter."""
        return self.step - self.skipped_steps

    def after(self, samples: int, *, applied: bool) -> Progress:
        """One step of ``samples`` sequences later."""
        missed = 0 if applied else 1
        return Progress(
            self.step + 1, self.samples + samples, self.skipped_steps + missed, self.skipped_samples + missed * samples
        )
