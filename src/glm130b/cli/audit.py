"""``glm eval audit``: published tables recomputed."""

from __future__ import annotations

import dataclasses
import json
import textwrap
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from glm130b.evaluation.audit import Finding, Status

_COLOURS: dict[Status, str] = {"holds": "green", "does not hold": "red", "cannot be checked": "yellow"}
_WIDTH = 100


def audit(
    file: str = typer.Argument("paper", metavar="[FILE]", help="A YAML file, or paper: the tables of GLM-130B."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> None:
    """Recompute what published tables claim.

    Each claim holds, does not hold, or cannot be checked, with the recomputation beside it. Nothing is run.

    \b
    A file of your own:
      schema: glm-audit/v1
      title: Some paper
      tables:
        main:
          source: Table 1
          decimals: 1                 # of the cells
          columns: [A, B]
          rows: {task: [71.2, 69.0], other: [60.0, null]}
          sizes: {task: 4316}         # items behind a row, where a rule needs them
          weights: {task: 2.5}        # of the weighted mean; default the sizes
      checks:
        - {claim: A leads, rule: difference, table: main, column: A, than: B, rows: [task]}

    \b
    Every check has a claim, a rule, and maybe a source and a note. The rules:
      mean            table, column, published; minus: a column that is subtracted; weighted: true
      same_aggregate  table, published: {column: value}; all of them over items, or all over rows
      cells           table, column, formula: of the names of other columns
      whole_count     table, column; percentages that have to be whole numbers of items
      difference      table, column, than; claim_is: better (default) or no worse; unpaired, from counts
      above_majority  published, decimals, commonest: items with the commonest answer, count: all items
      arithmetic      formula, values: {name: number}, published, decimals
      statement       reason: why no published number can settle it

    Rules of a table may name rows; default all. Formulas have + - * / ( ) min max abs. Printed numbers may be half a
    unit of their last decimal away from what was measured; that much is allowed for.
    """
    from glm130b.evaluation.audit import PAPER, read_document
    from glm130b.evaluation.audit import audit as recompute

    document = read_document(PAPER if file == "paper" else Path(file))
    findings = recompute(document)
    counts = Counter(finding.status for finding in findings)
    if as_json:
        tree = {
            "schema": "glm-audit-findings/v1",
            "title": document.title,
            "counts": {status: counts[status] for status in _COLOURS},
            "findings": [dataclasses.asdict(finding) for finding in findings],
        }
        typer.echo(json.dumps(tree, ensure_ascii=False, indent=2))
        return
    _print(document.title, findings)
    held, failed, open_ = (counts[status] for status in _COLOURS)
    typer.echo(f"Holds: {held}. Does not hold: {failed}. Cannot be checked: {open_}.")


def _print(title: str, findings: Sequence[Finding]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    if not console.is_terminal:
        typer.echo("\n".join([title, "", *(line for finding in findings for line in _lines(finding))]))
        return
    table = Table(title=title, show_lines=True, expand=True)
    table.add_column("", ratio=3)
    table.add_column("claim", ratio=7)
    table.add_column("published", ratio=4)
    table.add_column("recomputed", ratio=10)
    for finding in findings:
        claim = Text(finding.claim).append(f"\n{finding.source}", style="dim")
        found = Text(finding.recomputed).append(f"\n{finding.note}" if finding.note else "", style="italic")
        table.add_row(Text(finding.status, style=_COLOURS[finding.status]), claim, Text(finding.published), found)
    console.print(table)


def _lines(finding: Finding) -> list[str]:
    """A finding where there is no terminal: the status begins the line, for grep."""
    parts = [("published", finding.published), ("recomputed", finding.recomputed), ("source", finding.source)]
    lines = [f"{finding.status}: {finding.claim}"]
    for name, text in [*parts, ("note", finding.note)]:
        if text:
            lines += textwrap.wrap(f"{name:<12}{text}", _WIDTH, initial_indent="    ", subsequent_indent=" " * 16)
    return [*lines, ""]
