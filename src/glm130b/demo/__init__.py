"""``glm demo``: a small model from nothing to INT4 in minutes, on the terminal and on one page."""

from __future__ import annotations

from pathlib import Path


def run_demo(out: Path, minutes: float) -> None:
    """Train a small model in ``out``, fill blanks with it, quantise it, and write ``report.html``.

    Args:
        out: the run's folder; an ordinary one, to be used and resumed by the other commands.
        minutes: wall time to train for.

    Raises:
        DataError: ``out`` is there and holds something.
        SystemExit: stopped by a signal; what is saved has been said.
    """
    from glm130b.demo.tour import run

    run(out, minutes)


__all__ = ["run_demo"]
