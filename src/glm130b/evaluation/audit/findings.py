"""What an audit finds: every claim recomputed from the numbers printed beside it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from glm130b.errors import ConfigError
from glm130b.evaluation.audit.document import (
    AboveMajority,
    Arithmetic,
    Cells,
    Check,
    Difference,
    Document,
    Mean,
    SameAggregate,
    Statement,
    Table,
    WholeCount,
)
from glm130b.evaluation.audit.formula import evaluate, names_in
from glm130b.evaluation.audit.published import chance_of_whole, count_of, half_unit, is_whole, mean, range_of
from glm130b.evaluation.statistics import at_least, effect_unpaired, two_shares

Status = Literal["holds", "does not hold", "cannot be checked"]
_LEVEL = 0.05
_SURE = 0.95
"""Where more percentages than these are whole counts, one that is says nothing."""
_LISTED = 8


@dataclass(frozen=True)
class Finding:
    """One claim and what became of it.

    Attributes:
        published: what was printed.
        recomputed: what it follows from gives, and how.
    """

    claim: str
    source: str
    status: Status
    published: str
    recomputed: str
    note: str = ""


def audit(document: Document) -> list[Finding]:
    """Recompute every claim, in the document's order; comparisons of columns give one finding a row.

    Raises:
        ConfigError: a formula divides by zero, or a percentage is outside 0 to 100 where counts are needed.
    """
    found: list[Finding] = []
    for check in document.checks:
        try:
            found += _findings(check, document.tables)
        except ValueError as error:
            raise ConfigError(f"{check.claim!r} cannot be recomputed: {error}.", "Mend the check or table.") from None
    return found


def _findings(check: Check, tables: Mapping[str, Table]) -> Iterator[Finding]:
    if isinstance(check, Difference):
        yield from _differences(check, tables[check.table])
        return
    source = check.source
    match check:
        case Statement():
            status, published, text = _stated(check)
        case Arithmetic():
            status, published, text = _arithmetic(check)
        case AboveMajority():
            status, published, text = _above_majority(check)
        case Mean():
            status, published, text = _mean(check, tables[check.table])
        case SameAggregate():
            status, published, text = _same_aggregate(check, tables[check.table])
        case Cells():
            status, published, text = _cells(check, tables[check.table])
        case WholeCount():
            status, published, text = _whole_count(check, tables[check.table])
    if not isinstance(check, Statement | Arithmetic | AboveMajority):
        source = source or tables[check.table].source
    yield Finding(check.claim, source, status, published, text, check.note)


_Found = tuple[Status, str, str]


def _stated(check: Statement) -> _Found:
    return "cannot be checked", "", check.reason


def _arithmetic(check: Arithmetic) -> _Found:
    value = evaluate(check.formula, check.values)
    text = f"{_filled(check.formula, check.values)} = {value:.{check.decimals + 2}f}"
    return _agrees(value, check.published, half_unit(check.decimals)), _print(check.published, check.decimals), text


def _above_majority(check: AboveMajority) -> _Found:
    right = count_of(check.published, check.count)
    majority = check.commonest / check.count
    p = at_least(right, check.count, majority)
    text = f"{right} of {check.count}, the commonest answer {check.commonest}, {100 * majority:.2f}; one-sided {_p(p)}"
    return ("holds" if p < _LEVEL else "does not hold"), _print(check.published, check.decimals), text


def _mean(check: Mean, table: Table) -> _Found:
    decimals = table.decimals if check.decimals is None else check.decimals
    cells, slack = _column(table, check.column, check.rows), half_unit(table.decimals)
    if check.minus is not None:
        less = _column(table, check.minus, check.rows)
        cells, slack = {row: cell - less[row] for row, cell in cells.items() if row in less}, 2 * slack
    value = mean(cells, (table.weights or table.sizes) if check.weighted else None)
    text = f"{'weighted ' if check.weighted else ''}mean of {len(cells)} cells {value:.{decimals + 1}f}"
    if check.weighted and not table.weights and check.minus is None:
        right = sum(count_of(cell, table.sizes[row]) for row, cell in cells.items())
        text += f"; {right} of {sum(table.sizes[row] for row in cells)} items"
    return _agrees(value, check.published, half_unit(decimals) + slack), _print(check.published, decimals), text


def _same_aggregate(check: SameAggregate, table: Table) -> _Found:
    decimals = table.decimals if check.decimals is None else check.decimals
    slack = half_unit(decimals) + half_unit(table.decimals)
    kinds, texts = [], []
    for name, published in check.published.items():
        cells = _column(table, name, check.rows)
        values = {"items": mean(cells, table.sizes), "rows": mean(cells)}
        kinds.append({kind for kind, value in values.items() if _agrees(value, published, slack) == "holds"})
        found = " and ".join(f"over {kind} {value:.{decimals + 1}f}" for kind, value in values.items())
        texts.append(f"{name}: {found}")
    status: Status = "holds" if set.intersection(*kinds) else "does not hold"
    published_text = ", ".join(_print(value, decimals) for value in check.published.values())
    return status, published_text, "; ".join(texts)


def _cells(check: Cells, table: Table) -> _Found:
    names, slack = names_in(check.formula), half_unit(table.decimals)
    rows, wrong = 0, []
    for row, published in _column(table, check.column, check.rows).items():
        values = {name: cell for name in names if (cell := _column(table, name).get(row)) is not None}
        if len(values) < len(names):
            continue
        rows += 1
        low, high = range_of(check.formula, values, slack)
        if not low - slack - 1e-9 <= published <= high + slack + 1e-9:
            wrong.append(f"{row}: {_print(published, table.decimals)} for {evaluate(check.formula, values):.2f}")
    text = f"{check.formula} fits {rows - len(wrong)} of {rows} rows"
    return _verdict(wrong, rows), f"{rows} cells", "; ".join([text, *wrong])


def _whole_count(check: WholeCount, table: Table) -> _Found:
    wrong, rows = [], 0
    cells = _column(table, check.column, check.rows)
    for row, cell in cells.items():
        size = table.sizes[row]
        if chance_of_whole(size, table.decimals) > _SURE:
            continue
        rows += 1
        if not is_whole(cell, size, table.decimals):
            count = math.floor(cell * size / 100)
            near = " and ".join(f"{n}/{size} is {100 * n / size:.{table.decimals + 1}f}" for n in (count, count + 1))
            wrong.append(f"{row}: {_print(cell, table.decimals)}, but {near}")
    text = f"whole counts: {rows - len(wrong)} of {rows}"
    if rows < len(cells):
        text += f"; of too many items to tell: {len(cells) - rows}"
    published = f"{len(cells)} cells"
    if len(cells) <= _LISTED:
        published = ", ".join(_print(cell, table.decimals) for cell in cells.values())
    return _verdict(wrong, rows), published, "; ".join([text, *wrong])


def _differences(check: Difference, table: Table) -> Iterator[Finding]:
    others = _column(table, check.than, check.rows)
    for row, cell in _column(table, check.column, check.rows).items():
        if row not in others:
            continue
        size = table.sizes[row]
        right, other = count_of(cell, size), count_of(others[row], size)
        z, p = two_shares(right, size, other, size)
        least = 100 * effect_unpaired((right + other + 1) / (2 * size + 2), size)
        text = f"{right} and {other} of {size}: unpaired z = {z:.2f}, {_p(p)}"
        if check.claim_is == "better":
            status: Status = "holds" if z > 0 and p < _LEVEL else "does not hold"
        else:
            status = "does not hold" if z < 0 and p < _LEVEL else "cannot be checked"
        if status != "holds":
            text += f"; a difference of {least:.1f} would have been found"
        published = f"{_print(cell, table.decimals)}, {_print(others[row], table.decimals)}"
        yield Finding(f"{row}: {check.claim}", check.source or table.source, status, published, text, check.note)


def _column(table: Table, name: str, rows: tuple[str, ...] = ()) -> dict[str, float]:
    return {row: cell for row, cell in table.column(name).items() if not rows or row in rows}


def _agrees(value: float, published: float, slack: float) -> Status:
    return "holds" if abs(value - published) <= slack + 1e-9 else "does not hold"


def _verdict(wrong: list[str], rows: int) -> Status:
    if not rows:
        return "cannot be checked"
    return "does not hold" if wrong else "holds"


def _print(value: float, decimals: int) -> str:
    return f"{value:.{decimals}f}"


def _p(value: float) -> str:
    return f"p = {value:.2g}" if value >= 1e-4 else "p < 0.0001"


def _filled(formula: str, values: Mapping[str, float]) -> str:
    return re.sub(r"[A-Za-z_]\w*", lambda name: f"{values[name[0]]:.12g}" if name[0] in values else name[0], formula)
