"""Which rank hung: one that hangs makes all others wait, and all of them look alike from outside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from glm130b.launch.folder import STANDBY, HangReport

_ORDER = ("start", "loader", "forward-backward", "optimizer", "evaluation", "checkpoint")
"""Phases of a step, in order; one not named here comes after all."""

_IN = {"start": "while starting", "loader": "in the loader", "checkpoint": "in a checkpoint"}


@dataclass(frozen=True)
class Diagnosis:
    """Who hung, as far as the reports say.

    Attributes:
        ranks: of those that hung; none if the reports do not tell.
        text: one clause that names them, and where.
    """

    ranks: tuple[int, ...]
    text: str


def diagnose(reports: Sequence[HangReport], hosts: Mapping[int, str]) -> Diagnosis:
    """Find the rank that the others wait for.

    It is one that gives no report (it is stopped, or its machine is gone); else one whose last sign of life is
    of an earlier step or phase than that of others; else one that is not in a collective while others are.

    Args:
        reports: at least one.
        hosts: of every rank of the job.
    """
    silent = sorted(hosts.keys() - {report.rank for report in reports})
    reports = [report for report in reports if report.phase != STANDBY] or reports
    if silent:
        waited = (
            f"no sign of life for {_seconds(reports)} while the others waited {_where(max(reports, key=_position))}"
        )
        return Diagnosis(tuple(silent), f"{name_ranks(silent, hosts)} is stopped, or the machine is: {waited}")
    behind = min(map(_position, reports))
    found = [report for report in reports if _position(report) == behind]
    if len(found) == len(reports):
        found = [report for report in reports if not report.waiting]
    if not found or (len(found) == len(reports) and len(reports) > 1):
        return Diagnosis(
            (),
            f"all {len(reports)} ranks stood still {_where(reports[0])} for {_seconds(reports)}, and none is behind "
            "the others",
        )
    culprits = [report.rank for report in found]
    place = f" ({found[0].place})" if found[0].place else ""
    return Diagnosis(tuple(culprits), f"{name_ranks(culprits, hosts)} hung {_where(found[0])}{place}")


def name_ranks(ranks: Sequence[int], hosts: Mapping[int, str]) -> str:
    """``rank 3 on host a``, or ``ranks 8-15 on hosts b, c``."""
    places = list(dict.fromkeys(hosts.get(rank, "?") for rank in ranks))
    on = f"on host{'s' if len(places) > 1 else ''} {', '.join(places)}"
    if len(ranks) == 1:
        return f"rank {ranks[0]} {on}"
    unbroken = ranks[-1] - ranks[0] == len(ranks) - 1
    numbers = f"{ranks[0]}-{ranks[-1]}" if unbroken and len(ranks) > 2 else ", ".join(map(str, ranks))
    return f"ranks {numbers} {on}"


def _position(report: HangReport) -> tuple[int, int]:
    phase = _ORDER.index(report.phase) if report.phase in _ORDER else len(_ORDER)
    return report.step, phase


def _where(report: HangReport) -> str:
    return f"{_IN.get(report.phase, f'in {report.phase}')} at step {report.step}"


def _seconds(reports: Sequence[HangReport]) -> str:
    return f"{max(report.seconds for report in reports):.0f} s"
