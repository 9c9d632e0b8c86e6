"""``glm eval compare``."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import typer


def compare(
    first: Path = typer.Argument(metavar="A", help="A folder of results."),
    second: Path = typer.Argument(metavar="B", help="Another, of the same items."),
    names: list[str] = typer.Option([], "--task", metavar="NAME", help="Only this task; may be repeated."),
    every_metric: bool = typer.Option(False, "--every-metric", help="Not only each task's first."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> None:
    """Say on which tasks two results differ.

    The tests are paired, item by item: McNemar's exact test for shares of right answers, flipping the items' clusters
    for everything else. P-values allow for there being several tasks (Holm). Where no difference is found, it is told
    how large one would have been found.
    """
    from glm130b.evaluation import aligned, compare_results, number_text, read_results

    names_of = [read_results(folder).model.path for folder in (first, second)]
    rows = compare_results(first, second, tasks=names, every_metric=every_metric)
    if as_json:
        typer.echo(json.dumps([asdict(row) for row in rows], ensure_ascii=False, indent=2))
        return
    typer.echo(f"A: {first} ({names_of[0]})\nB: {second} ({names_of[1]})\n")
    table: list[tuple[str, ...]] = [
        ("task", "A", "B", "B less A", "95 % interval", "items", "p", "p (Holm)", "verdict")
    ]
    for row in rows:
        found = row.comparison
        shown = [number_text(one, found.percent) for one in (found.first, found.second, found.difference)]
        ends = f"{number_text(found.low, found.percent)} to {number_text(found.high, found.percent)}"
        p_values = [f"{p:.3f}" if p >= 0.001 else "<0.001" for p in (found.p_value, row.adjusted)]
        table.append((row.name, *shown, ends, str(found.units), *p_values, row.verdict))
    typer.echo("\n".join(aligned(table)))
