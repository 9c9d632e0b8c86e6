"""Published tables and what is claimed of them: one YAML file, as validated values."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, model_validator

from glm130b.config import Section
from glm130b.errors import ConfigError
from glm130b.evaluation.audit.formula import names_in
from glm130b.lines import read_yaml_file

PAPER = Path(__file__).parent / "paper.yaml"
Decimals = Annotated[int, Field(ge=0, le=9)]
Count = Annotated[int, Field(gt=0)]


class Table(Section):
    """A table as it was published.

    Attributes:
        source: where it is printed.
        decimals: of its cells; each may be half a unit of the last one away from what was measured.
        columns: names.
        rows: a cell a column by row; null where there is none.
        sizes: items behind each row, where known.
        weights: of rows in a weighted mean; default the sizes.
    """

    source: str
    decimals: Decimals = 1
    columns: tuple[str, ...] = Field(min_length=1)
    rows: dict[str, tuple[float | None, ...]] = Field(min_length=1)
    sizes: dict[str, Count] = Field(default_factory=dict)
    weights: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _fits(self) -> Table:
        for name, cells in self.rows.items():
            if len(cells) != len(self.columns):
                raise ValueError(f"row {name} has {len(cells)} cells for {len(self.columns)} columns")
        unknown = (self.sizes.keys() | self.weights.keys()) - self.rows.keys()
        if unknown:
            raise ValueError(f"there is no row {min(unknown)}")
        return self

    def column(self, name: str) -> dict[str, float]:
        """Cells of a column by row, without those that are missing."""
        place = self.columns.index(name)
        return {row: cell for row, cells in self.rows.items() if (cell := cells[place]) is not None}


class _Check(Section):
    claim: str
    source: str = ""
    note: str = ""


class _OfTable(_Check):
    table: str
    rows: tuple[str, ...] = ()


class Mean(_OfTable):
    """An average is that of the cells.

    Attributes:
        minus: a column that is subtracted cell by cell.
        weighted: by the table's weights, or its sizes.
        rows: default all that the column has.
    """

    rule: Literal["mean"]
    column: str
    minus: str | None = None
    weighted: bool = False
    published: float
    decimals: Decimals | None = None


class SameAggregate(_OfTable):
    """Averages of several columns, set side by side, are averages of one kind: of all items, or of the rows."""

    rule: Literal["same_aggregate"]
    published: dict[str, float] = Field(min_length=2)
    decimals: Decimals | None = None


class Cells(_OfTable):
    """A column follows from others of the same row.

    Attributes:
        column: what was published.
        formula: of the other columns' names.
    """

    rule: Literal["cells"]
    column: str
    formula: str


class Arithmetic(_Check):
    """A number follows from others."""

    rule: Literal["arithmetic"]
    formula: str
    values: dict[str, float] = Field(default_factory=dict)
    published: float
    decimals: Decimals

    @model_validator(mode="after")
    def _fits(self) -> Arithmetic:
        if missing := sorted(set(names_in(self.formula)) - self.values.keys()):
            raise ValueError(f"the formula needs a value for {missing[0]}")
        return self


class WholeCount(_OfTable):
    """Percentages are whole numbers of items out of the size of their rows."""

    rule: Literal["whole_count"]
    column: str


class Difference(_OfTable):
    """In each row one percentage differs from another, or does not, by an unpaired test of their counts.

    Attributes:
        than: the other column.
        claim_is: ``better``: holds if the test finds the difference; ``no worse``: never holds by a test that finds
            nothing.
    """

    rule: Literal["difference"]
    column: str
    than: str
    claim_is: Literal["better", "no worse"] = "better"


class AboveMajority(_Check):
    """A percentage is above that of always giving the commonest answer.

    Attributes:
        commonest: items with the commonest answer.
    """

    rule: Literal["above_majority"]
    published: float
    decimals: Decimals
    commonest: Count
    count: Count


class Statement(_Check):
    """Something that no published number can settle.

    Attributes:
        reason: why.
    """

    rule: Literal["statement"]
    reason: str


Check = Annotated[
    Mean | SameAggregate | Cells | Arithmetic | WholeCount | Difference | AboveMajority | Statement,
    Field(discriminator="rule"),
]


class Document(Section):
    """Tables and checks; ``glm eval audit --help`` describes the file."""

    schema_: Literal["glm-audit/v1"] = Field(alias="schema")
    title: str
    tables: dict[str, Table] = Field(default_factory=dict)
    checks: tuple[Check, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _fits(self) -> Document:
        for check in self.checks:
            if isinstance(check, _OfTable):
                table = self.tables.get(check.table)
                if table is None:
                    raise ValueError(f"{check.claim!r} is about table {check.table}, which is not there")
                _fits_table(check, table)
        return self


def _fits_table(check: _OfTable, table: Table) -> None:
    needed: Mapping[str, object]
    match check:
        case Mean():
            columns: tuple[str, ...] = (check.column,) if check.minus is None else (check.column, check.minus)
            needed = (table.weights or table.sizes) if check.weighted else table.rows
        case SameAggregate():
            columns, needed = tuple(check.published), table.sizes
        case Cells():
            columns, needed = (check.column, *names_in(check.formula)), table.rows
        case WholeCount():
            columns, needed = (check.column,), table.sizes
        case Difference():
            columns, needed = (check.column, check.than), table.sizes
        case _:
            raise AssertionError(check)
    for missing in (name for name in columns if name not in table.columns):
        raise ValueError(f"{check.claim!r} needs column {missing} of table {check.table}")
    for row in check.rows or table.rows:
        if row not in table.rows:
            raise ValueError(f"{check.claim!r} needs row {row} of table {check.table}")
        if row not in needed:
            raise ValueError(f"{check.claim!r} needs the size or weight of row {row} of table {check.table}")
    for name in columns:
        if not any(row in (check.rows or table.rows) for row in table.column(name)):
            raise ValueError(f"{check.claim!r} finds no cell in column {name} of table {check.table}")


def read_document(file: Path) -> Document:
    """Published tables and claims.

    Raises:
        ConfigError: no such file, not YAML, or not such a document, naming the key.
    """
    tree = read_yaml_file(file)
    try:
        return Document.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        reason = first["msg"].removeprefix("Value error, ")
        raise ConfigError(
            f"{file} cannot be audited: {key + ': ' if key else ''}{reason}.",
            "`glm eval audit --help` describes the file.",
        ) from None
