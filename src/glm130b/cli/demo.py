"""``glm demo``."""

from __future__ import annotations

from pathlib import Path

import typer


def demo(
    out: Path = typer.Option(Path("runs/demo"), help="The run's folder; must not exist yet."),
    minutes: float = typer.Option(2.0, min=0.02, help="How long to train."),
) -> None:
    """Train a small model from nothing, fill blanks with it, quantise it, and write a report."""
    from glm130b.demo import run_demo

    run_demo(out, minutes)
