"""What a person sees while a run goes on: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from glm130b.config import RunConfig
from glm130b.corpus import Document
from glm130b.files import size_text
from glm130b.model import GLM
from glm130b.planning import parameter_count
from glm130b.training import Progress as RunProgress
from glm130b.training import Record, Schedule, schedule_table, table_text

_LOG_SECONDS = 10.0
_MUCH_WAITING = 0.1


@contextmanager
def preparing() -> Iterator[Callable[[str, Document], None]]:
    """Show documents and bytes while sources are tokenised."""
    console = Console()
    documents = num_bytes = 0
    with console.status("Tokenising …") as status:

        def note(source: str, document: Document) -> None:
            nonlocal documents, num_bytes
            documents += 1
            num_bytes += len(document.text.encode())
            if documents % 50 == 0:
                status.update(f"Tokenising {source}: {documents} documents, {num_bytes / 1e6:.1f} MB")

        yield note
    if documents:
        console.print(f"Tokenised {documents} documents, {num_bytes / 1e6:.1f} MB.")


def tell_passed_over(too_short: dict[str, int], length: int) -> None:
    """Say which sources give no sample."""
    if too_short:
        names = ", ".join(f"{name} ({tokens} tokens)" for name, tokens in too_short.items())
        Console(stderr=True, highlight=False).print(f"Passed over, shorter than a piece of {length} tokens: {names}")


@contextmanager
def copying() -> Iterator[tuple[Callable[[int, int], None], Callable[[int], None]]]:
    """Show bytes written, bytes a second and the time left; yields what is to be told the totals and each part."""
    console = Console(stderr=True, highlight=False)
    bar = Progress(
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )
    last_line = time.monotonic()

    def advance(num_bytes: int) -> None:
        nonlocal last_line
        bar.advance(task, num_bytes)
        if not console.is_terminal and time.monotonic() - last_line > _LOG_SECONDS:
            done, total = bar.tasks[task].completed, bar.tasks[task].total or 0
            console.print(f"{size_text(done)} of {size_text(total)}")
            last_line = time.monotonic()

    with bar:
        task = bar.add_task("")
        yield lambda total, done: bar.update(task, total=total, completed=done), advance


class TrainingProgress:
    """A reporter that draws a progress bar, or prints a line every ten seconds where there is no terminal."""

    def __init__(self, config: RunConfig) -> None:
        self._config = config
        self._console = Console(highlight=False)
        self._last_line = 0.0
        self._bar = Progress(
            TextColumn("step {task.fields[step]}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%  loss {task.fields[loss]:.4f}  {task.fields[speed]:,.0f} tokens/s"),
            TextColumn("{task.fields[wait]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(elapsed_when_finished=False),
            console=self._console,
            disable=not self._console.is_terminal,
        )

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def begin(self, model: GLM, schedule: Schedule, progress: RunProgress) -> None:
        """Say what is about to be trained, and from where."""
        count = parameter_count(self._config.model)
        start = f", resuming after step {progress.step}" if progress.step else ""
        self._console.print(f"{self._config.name}: {count / 1e6:.1f} M parameters{start}")
        self._console.print(table_text(schedule_table(self._config)), soft_wrap=True, markup=False)
        total = self._end(schedule)
        self._task = self._bar.add_task(
            "", total=total, completed=progress.trained, step=progress.step, loss=float("nan"), speed=0.0, wait=""
        )

    def note(self, text: str) -> None:
        """Show a sentence."""
        self._console.print(text, markup=False)

    def _end(self, schedule: Schedule) -> int:
        """Samples at which the run stops."""
        last = self._config.train.max_steps
        for step, (samples, _) in enumerate(schedule.steps()) if last is not None else ():
            if step == last:
                return samples
        return schedule.total

    def step(self, record: Record) -> None:
        """Show one step."""
        self._bar.update(
            self._task,
            completed=record["trained"],
            step=record["step"],
            loss=record["loss"],
            speed=record["tokens_per_second"],
            wait=_waiting(record),
        )
        line = f"step {record['step']}  loss {record['loss']:.4f}  {record['tokens_per_second']:,.0f} tokens/s"
        line += _waiting(record)
        if "heldout_loss" in record:
            held = record["heldout_loss"].get("all")
            shown = "nothing is held out" if held is None else f"held-out loss {held:.4f}"
            self._console.print(f"{line}  {shown}")
        elif not self._console.is_terminal and time.monotonic() - self._last_line > _LOG_SECONDS:
            self._console.print(line)
        else:
            return
        self._last_line = time.monotonic()


def _waiting(record: Record) -> str:
    """A word on the loader if it holds the training up."""
    share = record["loader_seconds"] / record["seconds"]
    return f"  ({share:.0%} waiting for data)" if share > _MUCH_WAITING else ""
