"""MMLU: four options, 57 subjects, a file for each."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Literal

import yaml

from glm130b.evaluation.items import Item
from glm130b.evaluation.readers.reader import malformed, reader
from glm130b.lines import read_lines

_EXPECTED = "CSV without a header: question, four options, and A, B, C or D; named <subject>_test.csv"
_LETTERS = "ABCD"

Placing = Literal["authors", "original"]


@reader("mmlu")
def read_mmlu(files: Sequence[Path], *, placing: Placing = "authors") -> Iterator[Item]:
    """Questions, each in the group of its subject; field ``category`` is the field of study, empty if unknown.

    Args:
        placing: whose categories: GLM-130B's authors put anatomy under STEM, the original under Other.
    """
    categories = mmlu_categories(placing)
    for file in files:
        name, _, split = file.stem.rpartition("_")
        if not name or split not in ("test", "val", "dev"):
            raise malformed(file, 1, "the name has no subject", _EXPECTED)
        rows = csv.reader((f"{line}\n" for _, line in read_lines(file)), strict=True)
        try:
            for number, row in enumerate(rows, start=1):
                if len(row) != 6 or row[5] not in tuple(_LETTERS):
                    raise malformed(file, rows.line_num, f"{len(row)} cells, or an answer that is no letter", _EXPECTED)
                fields = {
                    "subject": name.replace("_", " "),
                    "category": categories.get(name, ""),
                    "question": row[0].strip(),
                    "options": [option.strip() for option in row[1:5]],
                    "choices": list(_LETTERS),
                    "label": _LETTERS.index(row[5]),
                }
                yield Item(f"{file.name}#{number}", fields, labels=(_LETTERS.index(row[5]),), group=name)
        except csv.Error as error:
            raise malformed(file, rows.line_num, f"the table is damaged ({error})", _EXPECTED) from None


@cache
def mmlu_categories(placing: Placing = "authors") -> Mapping[str, str]:
    """Field of study by subject, spelt as in file names."""
    file = Path(__file__).with_name("mmlu_categories.yaml")
    tree = yaml.safe_load(file.read_text(encoding="utf-8"))
    found = {subject: category for category, subjects in tree["original"].items() for subject in subjects}
    return found | tree["authors"] if placing == "authors" else found
