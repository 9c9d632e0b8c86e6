"""Tables with a header, divided by commas, semicolons or tabs."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from glm130b.evaluation.readers.reader import malformed
from glm130b.lines import read_lines


def read_table(
    file: Path, columns: Sequence[str], expected: str, *, delimiter: str = ","
) -> Iterator[tuple[int, dict[str, str]]]:
    """Rows as column to cell, each with the number of its last line; quoted cells may hold line ends.

    Args:
        columns: that have to be there; others may be too.
        expected: the format, in one clause.

    Raises:
        DataError: no header with these columns; a row of another length; a quoted cell that does not end.
    """
    rows = csv.reader((line + "\n" for _, line in read_lines(file)), delimiter=delimiter, strict=True)
    try:
        header = next(rows, [])
        lacking = [column for column in columns if column not in header]
        if lacking:
            raise malformed(file, 1, f"the header lacks {', '.join(lacking)}", expected)
        for row in rows:
            if row and len(row) != len(header):
                raise malformed(file, rows.line_num, f"there are {len(row)} cells, not {len(header)}", expected)
            if row:
                yield rows.line_num, dict(zip(header, row, strict=True))
    except csv.Error as error:
        raise malformed(file, rows.line_num, f"the table is damaged ({error})", expected) from None
