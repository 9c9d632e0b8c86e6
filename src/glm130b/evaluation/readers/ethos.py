"""ETHOS: comments and whether they are hateful, and against whom."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from glm130b.errors import ConfigError, DataError
from glm130b.evaluation.items import Item
from glm130b.evaluation.readers.delimited import read_table
from glm130b.evaluation.readers.reader import malformed, reader
from glm130b.lines import read_lines

_BINARY = ("comment", "isHate")
_MULTI = ("comment", "gender", "race")
_EXPECTED_BINARY = "Ethos_Dataset_Binary.csv: comment;isHate, the share of annotators from 0 to 1"
_EXPECTED_MULTI = "Ethos_Dataset_Multi_Label.csv: comment;…;gender;race;…, shares of annotators from 0 to 1"
_MAJORITY = 0.5


@reader("ethos")
def read_ethos(files: Sequence[Path], *, task: Literal["binary", "three_way"] = "binary") -> Iterator[Item]:
    """Fields ``comment`` and ``label``; labels are shares of annotators cut at one half.

    ``binary``: label 1 for hateful comments, 0 for the others. ``three_way``, as Chiu and Alexander (2021) made it
    of both files: 0 for comments that no annotator called hateful, 1 for sexist ones, 2 for racist ones; those that
    are both, or hateful on other grounds only, are left out.

    Raises:
        ConfigError: there is no such task.
        DataError: the file a task needs is missing; a file is not what it should be.
    """
    if task not in ("binary", "three_way"):
        raise ConfigError(f"ETHOS has no task {task!r}.", "Use binary or three_way.")
    tables = {_is_multi(file): file for file in files}
    if False not in tables or (task == "three_way" and True not in tables):
        raise DataError(
            f"ETHOS ({task}) is not among {', '.join(map(str, files))}.",
            f"Expected is {_EXPECTED_BINARY}" + (f", and {_EXPECTED_MULTI}." if task == "three_way" else "."),
        )
    if task == "three_way":
        for number, comment, (gender, race) in _rows(tables[True], _MULTI, _EXPECTED_MULTI):
            sexist, racist = gender >= _MAJORITY, race >= _MAJORITY
            if sexist != racist:
                yield _item(tables[True], number, comment, 2 if racist else 1)
    for number, comment, (hate,) in _rows(tables[False], _BINARY, _EXPECTED_BINARY):
        if task == "binary":
            yield _item(tables[False], number, comment, int(hate >= _MAJORITY))
        elif hate == 0:
            yield _item(tables[False], number, comment, 0)


def _item(file: Path, number: int, comment: str, label: int) -> Item:
    fields = {"comment": comment, "label": label}
    return Item(f"{file.name}#{number}", fields, labels=(label,), cluster=comment.casefold())


def _is_multi(file: Path) -> bool:
    return "isHate" not in next((line for _, line in read_lines(file)), "")


def _rows(file: Path, columns: Sequence[str], expected: str) -> Iterator[tuple[int, str, list[float]]]:
    for number, (line, row) in enumerate(read_table(file, columns, expected, delimiter=";")):
        comment = row[columns[0]].strip()
        if not comment:
            raise malformed(file, line, "the comment is empty", expected)
        shares = []
        for column in columns[1:]:
            try:
                share = float(row[column])
            except ValueError:
                share = -1.0
            if not 0 <= share <= 1:
                raise malformed(file, line, f"{column} is {row[column]!r}", expected)
            shares.append(share)
        yield number, comment, shares
