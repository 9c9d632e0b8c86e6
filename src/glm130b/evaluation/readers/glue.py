"""GLUE: tab-separated files in which a quotation mark is an ordinary character."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from glm130b.evaluation.items import Item
from glm130b.evaluation.readers.folding import cluster_of
from glm130b.evaluation.readers.reader import malformed, reader
from glm130b.lines import read_lines

_COLA = "four columns divided by tabs, without a header: source, label (0 or 1), the author's mark, sentence"


@reader("glue_pairs")
def read_pairs(files: Sequence[Path], first: str, second: str, label: str, labels: Sequence[str]) -> Iterator[Item]:
    """Two sentences and a class; the fields are ``first``, ``second`` and ``label``.

    Args:
        first, second, label: names of columns in the header.
        labels: in the order of the options.
    """
    expected = f"a header and columns divided by tabs, among them {first!r}, {second!r} and {label!r}"
    for file in files:
        header: list[str] = []
        for number, line in read_lines(file):
            cells = line.split("\t")
            if not header:
                header = cells
                if missing := {first, second, label} - set(header):
                    raise malformed(file, number, f"the header lacks {', '.join(sorted(missing))}", expected)
                continue
            if len(cells) != len(header):
                raise malformed(file, number, f"{len(cells)} columns, and the header has {len(header)}", expected)
            row = dict(zip(header, cells, strict=True))
            if row[label] not in labels:
                raise malformed(file, number, f"{label} is {row[label]!r}, none of {', '.join(labels)}", expected)
            right = labels.index(row[label])
            yield Item(
                f"{file.name}#{number}",
                {"first": row[first].strip(), "second": row[second].strip(), "label": right},
                labels=(right,),
                cluster=cluster_of(row[first].strip()),
            )


@reader("glue_cola")
def read_cola(files: Sequence[Path]) -> Iterator[Item]:
    """Sentences and whether a native speaker accepts them (label 1); a group is a file, ``in_domain`` say."""
    for file in files:
        for number, line in read_lines(file):
            cells = line.split("\t")
            if len(cells) != 4:
                raise malformed(file, number, f"{len(cells)} columns", _COLA)
            if cells[1] not in ("0", "1"):
                raise malformed(file, number, f"the label is {cells[1]!r}", _COLA)
            label = int(cells[1])
            yield Item(
                f"{file.name}#{number}",
                {"sentence": cells[3].strip(), "source": cells[0], "label": label},
                labels=(label,),
                group=file.stem.removesuffix("_dev"),
                cluster=cluster_of(cells[3]),
            )
