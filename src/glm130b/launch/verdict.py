"""What to do when workers have ended: a pure function of what they said and of what happened before."""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from glm130b.errors import ConfigError, DataError, GLMError, ModelError, ResourceError
from glm130b.launch.diagnosis import diagnose, name_ranks
from glm130b.launch.folder import EXIT_START_AGAIN, Ending, HangReport

_USAGE = 2
_ERRORS: dict[int, type[GLMError]] = {
    kind.exit_code: kind for kind in (ConfigError, DataError, ModelError, ResourceError)
}
_SAVED = (128 + signal.SIGINT, 128 + signal.SIGTERM)
_STRIKES = 3
_SECONDARY = (-signal.SIGABRT, -signal.SIGTERM)
"""How processes end whose neighbours have gone."""


@dataclass(frozen=True)
class Failure:
    """A failure of an attempt.

    Attributes:
        ranks: whose fault it was, as far as that is known.
        reason: a clause that says so.
        step: the last step that was done.
        checkpoint: name of the newest whole one; empty if there is none.
    """

    ranks: tuple[int, ...]
    reason: str
    step: int
    checkpoint: str


@dataclass(frozen=True)
class Verdict:
    """Whether the job goes on.

    Attributes:
        restart: whether all workers are started again.
        exit_code: of the job, if not.
        failure: what went wrong; None if nothing did, the job being stopped by a signal.
        error: the user's error that ended it.
        note: why a job that crashed is not started again.
    """

    restart: bool
    exit_code: int = 0
    failure: Failure | None = None
    error: GLMError | None = None
    note: str = ""


def decide(
    endings: Sequence[Ending],
    hangs: Sequence[HangReport],
    hosts: Mapping[int, str],
    standing: tuple[int, str],
    earlier: Sequence[Failure],
    restarts: int,
) -> Verdict:
    """Start again after crashes and hangs, but not after a user's error or a signal to stop, nor for ever.

    Args:
        endings, hangs: of the workers of this attempt.
        hosts: of every rank of the attempt.
        standing: the last step done and the newest checkpoint.
        earlier: failures of the job's earlier attempts, in order.
        restarts: how many restarts a job may have.
    """
    errors = [ending for ending in endings if ending.exit_code == _USAGE or ending.exit_code in _ERRORS]
    if errors:
        first = min(errors, key=lambda ending: ending.time)
        failure = Failure((first.rank,), _how(first, hosts), *standing)
        error = _ERRORS[first.exit_code](first.error, first.next_step) if first.error else None
        return Verdict(False, first.exit_code, failure, error)
    if not hangs and endings and all(ending.exit_code in _SAVED for ending in endings):
        return Verdict(False, endings[0].exit_code)
    failure = _failure(endings, hangs, hosts, standing)
    if len(earlier) >= restarts:
        return Verdict(False, 1, failure, note=f"restarted {restarts} times already (elastic.restarts)")
    last = [*earlier, failure][-_STRIKES:]
    if len(last) == _STRIKES and len({(each.step, each.checkpoint) for each in last}) == 1:
        return Verdict(False, 1, failure, note=f"step {failure.step + 1} failed {_STRIKES} times in a row")
    return Verdict(True, 1, failure)


def _failure(
    endings: Sequence[Ending], hangs: Sequence[HangReport], hosts: Mapping[int, str], standing: tuple[int, str]
) -> Failure:
    if hangs:
        diagnosis = diagnose(hangs, hosts)
        return Failure(diagnosis.ranks, diagnosis.text, *standing)
    if not endings:
        ranks = sorted(hosts)
        return Failure(tuple(ranks), f"no word came from {name_ranks(ranks, hosts)}", *standing)
    # A killed process cannot speak, its neighbours complain of it; else the first complaint is the cause.
    cause = min(endings, key=lambda end: (end.exit_code > 0 or end.exit_code in _SECONDARY, not end.error, end.time))
    return Failure((cause.rank,), _how(cause, hosts), *standing)


def _how(ending: Ending, hosts: Mapping[int, str]) -> str:
    who = name_ranks([ending.rank], {**hosts, ending.rank: ending.host})
    if ending.exit_code < 0:
        return f"{who} was killed by {signal.Signals(-ending.exit_code).name}"
    if ending.exit_code == EXIT_START_AGAIN:
        return f"{who} gave up after a hang"
    said = f": {ending.error}" if ending.error else ""
    return f"{who} ended with exit code {ending.exit_code}{said}"
