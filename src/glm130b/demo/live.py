"""Training as one watches it: loss and gradient on a terminal, a line now and then in a log."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Sequence
from itertools import pairwise
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from glm130b.demo.pace import FEWEST_STEPS
from glm130b.model import GLM
from glm130b.training import Progress, Record, Schedule

_BARS = "▁▂▃▄▅▆▇█"
_LINES = 12
"""Lines printed over a whole run where there is no terminal."""
_RECENT = 20
"""Steps whose mean is shown as the loss, so that the eye can follow it."""


class LiveTraining:
    """A reporter that shows step, loss, embedding gradient, speed and the time left.

    Args:
        before: held-out loss of the fresh model; None if nothing is held out.
        seconds: how long the run should last; a run that takes a quarter longer is asked to stop, though
            not before its first few steps.
    """

    def __init__(self, console: Console, before: float | None, seconds: float) -> None:
        self.out_of_time = False
        """Whether the run was asked to stop because it took too long."""
        self._console, self._seconds = console, seconds
        self._heldout = [] if before is None else [before]
        self._losses: list[float] = []
        self._gradients: list[float] = []
        self._record: Record = {}
        self._total = 1
        self._started = self._last_line = time.monotonic()
        self._live = Live(console=console, refresh_per_second=8, transient=False) if console.is_terminal else None

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def begin(self, model: GLM, schedule: Schedule, progress: Progress) -> None:
        """Start the clock."""
        self._total = schedule.total
        self._started = time.monotonic()

    def note(self, text: str) -> None:
        """Show a sentence."""
        self._console.print(text, markup=False)

    def step(self, record: Record) -> None:
        """Show one step, and ask for the end once the time is long up."""
        self._record = record
        self._losses.append(record["loss"])
        self._gradients.append(record["embedding_grad_norm"])
        self._heldout += [value for key, value in record.get("heldout_loss", {}).items() if key == "all"]
        if self._live is not None:
            self._live.update(self._panel())
        elif "heldout_loss" in record or self._due():
            self._last_line = time.monotonic()
            self._console.print(self._line())
        late = time.monotonic() - self._started > 1.25 * self._seconds + 5 and record["step"] >= FEWEST_STEPS
        if late and not self.out_of_time and threading.current_thread() is threading.main_thread():
            self.out_of_time = True
            signal.raise_signal(signal.SIGTERM)

    def _due(self) -> bool:
        done = self._record["step"] == 1 or self._record["samples"] >= self._total
        return done or time.monotonic() - self._last_line > self._seconds / _LINES

    def _left(self) -> float:
        share: float = self._record["samples"] / self._total
        return (time.monotonic() - self._started) * (1 - share) / share

    def _recent(self) -> float:
        recent = self._losses[-_RECENT:]
        return sum(recent) / len(recent)

    def _line(self) -> str:
        record = self._record
        held = f"  held-out {self._heldout[-1]:.3f}" if "all" in record.get("heldout_loss", {}) else ""
        return (
            f"  step {record['step']:>5}  loss {record['loss']:.3f}  embedding gradient "
            f"{record['embedding_grad_norm']:.3f}  {record['tokens_per_second']:,.0f} tokens/s  "
            f"{clock(self._left())} left{held}"
        )

    def _panel(self) -> RenderableType:
        record, width = self._record, max(10, min(48, self._console.width - 40))
        share = record["samples"] / self._total
        head = Table.grid(padding=(0, 2))
        head.add_row(
            Text(f"step {record['step']}", style="bold"),
            ProgressBar(total=1.0, completed=share, width=max(10, width - 14)),
            Text(f"{record['tokens_per_second']:,.0f} tokens/s"),
            Text(f"{clock(self._left())} left" if share < 1 else clock(time.monotonic() - self._started)),
        )
        rows = Table.grid(padding=(0, 2))
        rows.add_row("loss", Text(f"{self._recent():.3f}", style="bold cyan"), spark(self._losses, width, "cyan"))
        rows.add_row(
            "embedding gradient",
            Text(f"{record['embedding_grad_norm']:.3f}", style="bold magenta"),
            spark(self._gradients, width, "magenta"),
        )
        if self._heldout:
            path = " → ".join(f"{value:.3f}" for value in self._heldout)
            rows.add_row("held-out loss", Text(f"{self._heldout[-1]:.3f}", style="bold green"), Text(path, "green"))
        return Panel(Group(head, Text(), rows), expand=False, border_style="dim", padding=(0, 1))


def spark(values: Sequence[float], width: int, style: str = "") -> Text:
    """A curve in one row: means over equal stretches, from the lowest to the highest of them."""
    edges = [len(values) * n // min(width, len(values)) for n in range(min(width, len(values)) + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in pairwise(edges)]
    low, high = min(means), max(means)
    span = (high - low) or 1.0
    return Text("".join(_BARS[round((mean - low) / span * (len(_BARS) - 1))] for mean in means), style=style)


def clock(seconds: float) -> str:
    """Minutes and seconds."""
    return f"{int(seconds + 0.5) // 60}:{int(seconds + 0.5) % 60:02d}"
