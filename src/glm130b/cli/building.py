"""What a person sees of a corpus: how a build goes on, and its ledger as tables."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from glm130b.corpus import printable
from glm130b.files import size_text

_LOG_SECONDS = 10.0
_MIN_SECONDS = 0.05
_FILE_WIDTH = 160
_NAMES = {"clean": "Cleaning", "match": "Matching", "write": "Writing"}


class BuildProgress:
    """A reporter that draws a bar a stage, or prints a line every ten seconds where there is no terminal."""

    def __init__(self) -> None:
        self._console = Console(file=_own_stderr(), highlight=False)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%  {task.fields[speed]}"),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
            transient=True,
        )
        self._task = self._bar.add_task("", total=None, speed="")
        self._stage = ""

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
        if kind is None:
            self._finish()

    def note(self, text: str) -> None:
        """Something is done that has no stage."""
        self._finish()
        self._stage = ""
        self._bar.reset(self._task, description=text, total=None, speed="")

    def begin(self, stage: str, num_tasks: int, total_bytes: int, done_bytes: int) -> None:
        """Begin a stage."""
        self._finish()
        self._stage = _NAMES[stage]
        self._documents, self._bytes, self._tasks = 0, 0, num_tasks
        self._total, self._done = total_bytes, done_bytes
        self._start = self._last_line = time.monotonic()
        self._bar.reset(self._task, description=self._stage, total=total_bytes, completed=done_bytes, speed="")
        if done_bytes and num_tasks:
            self._console.print(f"{self._stage}: {size_text(done_bytes)} of {size_text(total_bytes)} are done already")

    def advance(self, documents: int, num_bytes: int) -> None:
        """So much more is dealt with."""
        self._documents, self._bytes = self._documents + documents, self._bytes + num_bytes
        now = time.monotonic()
        self._bar.update(self._task, advance=num_bytes, speed=self._speed(now))
        if not self._console.is_terminal and now - self._last_line > _LOG_SECONDS:
            done = self._done + self._bytes
            seconds = (self._total - done) / self._bytes * (now - self._start) if self._bytes else None
            left = "" if seconds is None else f", {_duration(seconds)} left"
            line = f"{self._stage}: {size_text(done)} of {size_text(self._total)}, {self._speed(now)}{left}"
            self._console.print(line)
            self._last_line = now

    def _speed(self, now: float) -> str:
        seconds = max(now - self._start, 1e-3)
        documents = f"{self._documents / seconds:,.0f} documents/s, " if self._documents else ""
        return f"{documents}{self._bytes / seconds / 1e6:.1f} MB/s"

    def _finish(self) -> None:
        """A line about the stage that is over, if it had anything to do."""
        now = time.monotonic()
        if self._stage and self._tasks and now - self._start >= _MIN_SECONDS:
            documents = f"{self._documents:,} documents, " if self._documents else ""
            read = f"{documents}{size_text(self._bytes)} in {_duration(now - self._start)}"
            self._console.print(f"{self._stage}: {read}, {self._speed(now)}")


def print_ledger(ledger: dict[str, Any]) -> None:
    """The ledger as tables: sources, reasons, licences, test sets."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_FILE_WIDTH)
    console.print(_sources(ledger), _reasons(ledger), _licenses(ledger))
    if ledger["contamination"]["tasks"]:
        console.print(_test_sets(ledger))
    console.print(_text(f"Fingerprint {ledger['fingerprint']}"))


def _own_stderr() -> TextIO:
    """The terminal or file that stderr is now, whatever it is put to while an engine runs."""
    try:
        return os.fdopen(os.dup(sys.stderr.fileno()), "w", encoding="utf-8", errors="replace")
    except (OSError, AttributeError):
        return sys.stderr


def _text(shown: str) -> Text:
    """As it is: brackets in it are no markup."""
    return Text(printable(shown))


def _add(table: Table, *words: str, numbers: Sequence[int]) -> None:
    table.add_row(*map(_text, words), *(f"{number:,}" for number in numbers))


def _table(title: str, *columns: str, words: int = 1) -> Table:
    table = Table(
        title=Text(title, "table.title"), title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0)
    )
    for number, column in enumerate(columns):
        is_word = number < words
        table.add_column(column, justify="left" if is_word else "right", overflow="fold", no_wrap=not is_word)
    return table


def _sources(ledger: dict[str, Any]) -> Table:
    columns = ("source", "", "documents", "faulty", "language", "quality", "exact", "near", "test sets", "kept")
    table = _table("Documents by source", *columns, "train tokens", "held-out", words=2)
    rows = [*ledger["sources"], {"source": "all", "language": "", **ledger["total"]}]
    for row in rows:
        stages = row["stages"]
        dropped = [stage["in"]["documents"] - stage["out"]["documents"] for stage in stages]
        kept = row["train"]["documents"] + row["heldout"]["documents"]
        numbers = [stages[0]["in"]["documents"], dropped[0] + dropped[1], *dropped[2:], kept]
        numbers += [row["train"]["tokens"], row["heldout"]["tokens"]]
        _add(table, row["source"], row["language"], numbers=numbers)
    return table


def _reasons(ledger: dict[str, Any]) -> Table:
    table = _table("\nWhy documents were dropped", "stage", "reason", "documents", "tokens", words=2)
    for stage in ledger["total"]["stages"]:
        for reason, counts in sorted(stage["dropped"].items(), key=lambda item: -item[1]["documents"]):
            _add(table, stage["stage"], reason, numbers=(counts["documents"], counts["tokens"]))
    return table


def _licenses(ledger: dict[str, Any]) -> Table:
    table = _table("\nLicences", "source", "licence", "documents", "tokens", words=2)
    for row in ledger["licenses"]:
        _add(table, row["source"], row["license"] or "not stated", numbers=(row["documents"], row["tokens"]))
    return table


def _test_sets(ledger: dict[str, Any]) -> Table:
    columns = ("items", "findable", "found", "documents", "passages", "acted on")
    table = _table(f"\nTest sets ({printable(ledger['contamination']['action'])})", "task", *columns)
    names = ("items", "indexed", "items_found", "documents", "passages", "acted_on")
    for task, row in ledger["contamination"]["tasks"].items():
        _add(table, task, numbers=[row.get(name, 0) for name in names])
    return table


def _duration(seconds: float) -> str:
    """As a person reads it."""
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s" if whole >= 10 else f"{seconds:.1f} s"
    return f"{whole // 60} min" if whole < 7200 else f"{whole // 3600} h {whole % 3600 // 60} min"
