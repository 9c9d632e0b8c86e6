"""CrowS-Pairs: pairs of sentences, one of which stereotypes more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from glm130b.evaluation.items import Item
from glm130b.evaluation.readers.delimited import read_table
from glm130b.evaluation.readers.reader import malformed, reader

_COLUMNS = ("sent_more", "sent_less", "stereo_antistereo", "bias_type")
_EXPECTED = f"the CSV of CrowS-Pairs with the columns {', '.join(_COLUMNS)}"


@reader("crows_pairs")
def read_crows_pairs(files: Sequence[Path]) -> Iterator[Item]:
    """Fields ``first`` (the sentence that stereotypes more), ``second`` and ``direction``; the group is the bias.

    ``direction`` says which of the two is about the disadvantaged group: the first one in a ``stereo`` pair, the
    second one, which goes against a stereotype, in an ``antistereo`` pair.
    """
    for file in files:
        for number, (line, row) in enumerate(read_table(file, _COLUMNS, _EXPECTED)):
            first, second, direction, bias = (row[column].strip() for column in _COLUMNS)
            if direction not in ("stereo", "antistereo"):
                raise malformed(file, line, f"stereo_antistereo is {direction!r}", _EXPECTED)
            if not (first and second and bias):
                raise malformed(file, line, "a sentence or bias_type is empty", _EXPECTED)
            fields = {"first": first, "second": second, "direction": direction}
            yield Item(f"{file.name}#{number}", fields, group=bias, cluster=first.casefold())
