"""What a run's ledger says: its sessions, and how any of its steps came about."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from glm130b.errors import ModelError
from glm130b.training.ledger_lines import LEDGER, Line, differences, read_ledger


@dataclass
class Session:
    """One start of a run, and what came of it.

    Attributes:
        number: counted from 1.
        line: as written when it began.
        config: the whole configuration in force, as plain values.
        changes: was and is of every setting in which it differs from the session it goes on from.
        last_step: the last step noted; the step it began after if there is none.
        last_time: of the last line, in UTC.
        ended: why, if it is known.
    """

    number: int
    line: Line
    config: dict[str, Any]
    last_step: int
    last_time: datetime
    changes: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    ended: str | None = None

    @property
    def begun_after(self) -> int:
        """The step it went on from; 0 at the start."""
        return int(self.line["step"])

    @property
    def seconds(self) -> float:
        """From the first line to the last."""
        return (self.last_time - datetime.fromisoformat(self.line["time"])).total_seconds()

    @property
    def parent(self) -> int | None:
        """The session whose checkpoint it goes on from, if it goes on from one and that had a ledger."""
        number = (self.line["resumed"] or {}).get("session")
        return None if number is None else int(number)


@dataclass(frozen=True)
class Explanation:
    """How a step came about.

    Attributes:
        line: the step's line: data window, rates, loss, and whether it was applied.
        session: that took it.
        stands: whether the run's newest state builds on it; if not, the run went back to an older checkpoint, and
            this is the last attempt at the step.
        lineage: sessions whose steps led to it, back to the start: ``session``, the one it goes on from, and so on.
        abandoned: the other attempts, oldest first, each with its session.
        events: noted by the session between this step and the next.
    """

    line: Line
    session: Session
    stands: bool
    lineage: tuple[Session, ...]
    abandoned: tuple[tuple[Session, Line], ...]
    events: tuple[Line, ...]


def read_sessions(run: Path) -> list[Session]:
    """The sessions of a run, oldest first.

    Raises:
        ModelError: the folder has no ledger, or it was changed.
    """
    return _collect(_lines(run))[0]


def explain(run: Path, step: int) -> Explanation:
    """How a step of a run came about.

    Raises:
        ModelError: the folder has no ledger, it was changed, or it does not have the step.
    """
    return explain_lines(_lines(run), step)


def _lines(run: Path) -> Iterator[Line]:
    if not (run / LEDGER).is_file():
        raise ModelError(f"{run} has no {LEDGER}.", "Give the folder of a run that `glm train` made.")
    return (line for line, _ in read_ledger(run / LEDGER))


def explain_lines(lines: Iterable[Line], step: int) -> Explanation:
    """``explain``, from the lines themselves."""
    sessions, found = _collect(lines, step)
    by_number = {session.number: session for session in sessions}
    attempts = {line["session"]: line for line in found if line["kind"] == "step"}
    if not attempts:
        raise _not_there(sessions, step)
    standing = next((it for it in _lineage(sessions[-1], by_number) if it.begun_after < step), None)
    stands = standing is not None and standing.number in attempts
    number = standing.number if standing is not None and stands else max(attempts)
    return Explanation(
        attempts[number],
        by_number[number],
        stands,
        tuple(_lineage(by_number[number], by_number)),
        tuple((by_number[other], line) for other, line in attempts.items() if other != number),
        tuple(line for line in found if line["kind"] == "event" and line["session"] == number),
    )


def _collect(lines: Iterable[Line], step: int | None = None) -> tuple[list[Session], list[Line]]:
    """All sessions; the lines of kind step and event that belong to a step."""
    sessions: dict[int, Session] = {}
    found: list[Line] = []
    config: dict[str, Any] = {}
    for line in lines:
        number = line["session"]
        if line["kind"] == "session":
            config = line.get("config", config)
            session = sessions[number] = Session(number, line, config, line["step"], _time(line))
            if session.parent is not None:
                session.changes = differences(sessions[session.parent].config, config)
        elif line["kind"] == "step":
            sessions[number].last_step = line["step"]
        elif line.get("ends") and number in sessions:
            sessions[number].ended = line["text"]
        if number in sessions:
            sessions[number].last_time = _time(line)
        if line["step"] == step and line["kind"] in ("step", "event"):
            found.append(line)
    return list(sessions.values()), found


def _time(line: Line) -> datetime:
    return datetime.fromisoformat(line["time"])


def _lineage(session: Session, by_number: dict[int, Session]) -> Iterator[Session]:
    """A session, the one it goes on from, and so on."""
    yield session
    while session.parent is not None:
        session = by_number[session.parent]
        yield session


def _not_there(sessions: list[Session], step: int) -> ModelError:
    first = min((session.begun_after for session in sessions), default=0)
    last = max((session.last_step for session in sessions), default=0)
    if first < step <= last:
        return ModelError(f"The ledger has no step {step}.", "Ask for a step before or after it.")
    if last == first:
        return ModelError(f"The ledger has no step {step}: it has none yet.", "Wait for the first step.")
    return ModelError(f"The ledger has no step {step}; it goes from {first + 1} to {last}.", "Ask for one of those.")
