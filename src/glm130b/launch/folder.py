"""``RUN/launch`` and ``RUN/logs``: what launchers and workers of one job tell one another, and people later.

Everything is small JSON on the file system that the checkpoints need anyway, so that any launcher can take over
from any other. An *attempt* is one start of all workers; attempts are numbered through the whole life of a run.
"""

from __future__ import annotations

import fcntl
import json
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from glm130b.files import write_whole

EXIT_START_AGAIN = 200
"""Exit code: what was done is saved, and starting again can help. Of a worker that hung, and of a launcher whose
rendezvous is gone. Above every code that a signal gives."""

STANDBY = "standby"
"""Phase of a rank that the layout has no place for."""

Event = dict[str, Any]


@dataclass(frozen=True)
class Ending:
    """How a worker ended before its work was done.

    Attributes:
        exit_code: the process's; of a signal, minus its number.
        error: what it said last; empty if it could say nothing.
        next_step: of a user's error, what to do about it.
        time: in seconds since the epoch.
    """

    rank: int
    host: str
    exit_code: int
    error: str = ""
    next_step: str = ""
    time: float = field(default_factory=time.time)


@dataclass(frozen=True)
class HangReport:
    """What a worker was doing when the job stood still.

    Attributes:
        phase, step: its last sign of life.
        seconds: since that sign.
        place: the innermost line of this package that its main thread was in.
        waiting: whether that thread was inside a collective.
        stacks: of every thread, by its name.
    """

    rank: int
    host: str
    phase: str
    step: int
    seconds: float
    place: str = ""
    waiting: bool = False
    stacks: dict[str, list[str]] = field(default_factory=dict)


class LaunchFolder:
    """The files of a run's jobs."""

    def __init__(self, run: Path) -> None:
        self.run = run
        self._folder = run / "launch"

    def log(self, attempt: int, rank: int, stream: str) -> Path:
        """Where ``stdout`` or ``stderr`` of a rank goes, or its ``traceback``."""
        return self.run / "logs" / f"attempt-{attempt:04d}-rank-{rank:05d}.{stream}"

    def write_traceback(self, attempt: int, rank: int, text: str) -> None:
        """Leave the traceback of an error that ends a worker."""
        file = self.log(attempt, rank, "traceback")
        with suppress(OSError):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")

    def last_words(self, attempt: int, rank: int) -> Path:
        """The file that says most about how a rank ended: its traceback, or what it wrote to stderr."""
        file = self.log(attempt, rank, "traceback")
        return file if file.exists() else file.with_suffix(".stderr")

    def report_hang(self, attempt: int, report: HangReport) -> None:
        """Leave a report; from then on ``hangs`` is true on every node."""
        write_whole(self._file("hang", attempt, report.rank), json.dumps(asdict(report), indent=1))
        self.mark("hang", attempt)

    def hang_reports(self, attempt: int) -> list[HangReport]:
        """What the ranks of an attempt reported, in their order."""
        return [HangReport(**found) for found in self._read_all("hang", attempt)]

    def report_ending(self, attempt: int, ending: Ending) -> None:
        """Say how a worker ended; what it said itself is not replaced by what its launcher saw."""
        file = self._file("end", attempt, ending.rank)
        if not file.exists():
            write_whole(file, json.dumps(asdict(ending), indent=1))

    def endings(self, attempt: int) -> list[Ending]:
        """Workers of an attempt that ended before their work was done, in the order of ranks."""
        return [Ending(**found) for found in self._read_all("end", attempt)]

    def mark(self, name: str, attempt: int) -> None:
        """Say something of an attempt that is either so or not: ``began``, ``hang``, ``regroup``, ``over``."""
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / f"{name}-{attempt:04d}").touch()

    def is_marked(self, name: str, attempt: int) -> bool:
        """Whether it was said."""
        return (self._folder / f"{name}-{attempt:04d}").exists()

    def append(self, event: Event) -> None:
        """Add a line to ``events.jsonl``, with the time; safe against other nodes that do the same."""
        self._folder.mkdir(parents=True, exist_ok=True)
        line = json.dumps({"time": round(time.time(), 3), **event}, ensure_ascii=False)
        with (self._folder / "events.jsonl").open("a", encoding="utf-8") as file:
            with suppress(OSError):  # not every file system has locks; a line is written at once in any case
                fcntl.flock(file, fcntl.LOCK_EX)
            file.write(line + "\n")

    def events(self) -> list[Event]:
        """All events so far; a line that a kill has cut short is left out."""
        file, found = self._folder / "events.jsonl", []
        for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else ():
            with suppress(ValueError):
                found.append(json.loads(line))
        return found

    def restart_cause(self) -> str | None:
        """Why the attempt before the newest ended, if the newest is its repetition."""
        start, *before = reversed(self.events()) if (self._folder / "events.jsonl").exists() else [{}]
        if start.get("event") != "start" or not before or before[0]["event"] != "failure":
            return None
        return str(before[0]["reason"])

    def standing(self) -> tuple[int, str]:
        """Last step in ``metrics.jsonl`` and name of the newest whole checkpoint; 0 and "" before the first."""
        names = (path.name for path in (self.run / "checkpoints").glob("step-*"))
        return _last_step(self.run / "metrics.jsonl"), max(names, default="")

    def _file(self, kind: str, attempt: int, rank: int) -> Path:
        return self._folder / f"{kind}-{attempt:04d}-rank-{rank:05d}.json"

    def _read_all(self, kind: str, attempt: int) -> Iterator[dict[str, Any]]:
        for file in sorted(self._folder.glob(f"{kind}-{attempt:04d}-rank-*.json")):
            yield json.loads(file.read_text(encoding="utf-8"))


def _last_step(metrics: Path) -> int:
    """The step of the last complete line."""
    try:
        lines = metrics.read_bytes().split(b"\n")[:-1]
        return int(json.loads(lines[-1])["step"])
    except (OSError, ValueError, IndexError, KeyError):
        return 0
