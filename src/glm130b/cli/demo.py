"""``glm demo``."""

from __future__ import annotations

import itertools
from pathlib import Path

import typer


def demo(
    out: Path = typer.Option(
        None, metavar="FOLDER", help="The run's folder, a new one.  [default: runs/demo, or runs/demo-2, …]"
    ),
    minutes: float = typer.Option(2.0, min=0.02, help="How long to train."),
) -> None:
    """Train a small model from nothing, fill blanks with it, quantise it, and write a report."""
    from glm130b.demo import run_demo

    run_demo(out or _free_folder(Path("runs/demo")), minutes)


def _free_folder(first: Path) -> Path:
    names = itertools.chain([first], (first.with_name(f"{first.name}-{n}") for n in itertools.count(2)))
    return next(path for path in names if not path.exists())
