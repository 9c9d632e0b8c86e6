"""Records of a dataset as fields by name: JSON, JSON lines, CSV, TSV, Parquet, and three question sets' own layouts."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from glm130b.errors import DataError
from glm130b.lines import fault, read_json_file, read_json_line, read_lines

Fields = dict[str, Any]

_LONGEST_CELL = 100_000_000


def read_json(path: Path) -> Iterator[Fields]:
    """A list of objects, or an object with one such list in it, ``data`` if there are several."""
    tree = read_json_file(path)
    if isinstance(tree, dict):
        lists = {key: value for key, value in tree.items() if isinstance(value, list)}
        if len(lists) != 1 and "data" not in lists:
            raise DataError(
                f"{path} is an object with {len(lists) or 'no'} lists of records.",
                "Save the records as one list, or as JSON lines.",
            )
        tree = lists["data"] if "data" in lists else next(iter(lists.values()))
    if not isinstance(tree, list):
        raise DataError(f"{path} holds no list of records.", "Save the records as one list, or as JSON lines.")
    for number, record in enumerate(tree):
        if not isinstance(record, dict):
            raise DataError(f"{path}: record {number} is no JSON object.", "Mend it, or give the dataset its format.")
        yield record


def read_jsonl(path: Path) -> Iterator[Fields]:
    """One JSON object a line."""
    for number, line in read_lines(path):
        if line.strip():
            yield read_json_line(path, number, line)


def read_csv(path: Path) -> Iterator[Fields]:
    """Comma-separated, quoted, with a header; every value is text."""
    yield from _separated(path, ",", csv.QUOTE_MINIMAL)


def read_tsv(path: Path) -> Iterator[Fields]:
    """Tab-separated, quotation marks being ordinary characters, with a header; every value is text."""
    yield from _separated(path, "\t", csv.QUOTE_NONE)


def _separated(path: Path, delimiter: str, quoting: Any) -> Iterator[Fields]:
    csv.field_size_limit(_LONGEST_CELL)
    lines = (line + "\n" for _, line in read_lines(path))
    reader = csv.reader(lines, delimiter=delimiter, quoting=quoting, strict=True)
    header: list[str] | None = None
    try:
        for row in reader:
            if header is None:
                header = row
                if len(set(header)) < len(header) or "" in header:
                    raise fault(path, 1, "the first line names a column twice, or not at all")
            elif row:
                if len(row) != len(header):
                    raise fault(path, reader.line_num, f"{len(row)} values stand under {len(header)} names")
                yield dict(zip(header, row, strict=True))
    except csv.Error as error:
        raise fault(path, reader.line_num, f"this is not a table ({error})") from None


def read_parquet(path: Path) -> Iterator[Fields]:
    """A Parquet file, a batch of rows at a time."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise DataError(
            f"{path} needs pyarrow to be read.", "Install it with `pip install glm130b[parquet]`."
        ) from None
    try:
        with pyarrow.parquet.ParquetFile(path) as table:
            for batch in table.iter_batches(batch_size=1000):
                yield from batch.to_pylist()
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(f"{path} is not a whole Parquet file ({error}).", "Copy it again.") from None


def read_dream(path: Path) -> Iterator[Fields]:
    """DREAM: ``[[lines, questions, id], …]`` to one record a question."""
    for number, entry in enumerate(_list(path)):
        try:
            dialogue, questions, name = entry
            for place, question in enumerate(questions):
                yield {
                    "id": place,
                    "dialogue_id": name,
                    "dialogue": list(dialogue),
                    "question": question["question"],
                    "choice": list(question["choice"]),
                    "answer": question["answer"],
                }
        except (TypeError, ValueError, KeyError):
            raise DataError(
                f"{path}: entry {number} is not a dialogue with questions and a name.", "Copy DREAM's file again."
            ) from None


def read_qasc(path: Path) -> Iterator[Fields]:
    """AI2's layout of QASC, ARC, OpenBookQA and CommonsenseQA: ``question.stem`` and ``question.choices``."""
    for number, line in read_lines(path):
        if not line.strip():
            continue
        record = read_json_line(path, number, line)
        try:
            stem, choices = record["question"]["stem"], record["question"]["choices"]
            columns = {key: [choice[key] for choice in choices] for key in ("text", "label")}
        except (TypeError, KeyError):
            raise fault(path, number, "this is no question with a stem and choices") from None
        yield {"answerKey": "", **record, "question": stem, "question_stem": stem, "choices": columns}


def read_piqa(path: Path) -> Iterator[Fields]:
    """PIQA: questions in ``<name>.jsonl``, their labels 0 or 1 in ``<name>-labels.lst`` beside it."""
    labels_path = path.with_name(path.name.removesuffix(".jsonl") + "-labels.lst")
    if not labels_path.is_file():
        raise DataError(f"{labels_path} with the labels of {path.name} is missing.", "Lay it beside the questions.")
    labels = [(number, line.strip()) for number, line in read_lines(labels_path) if line.strip()]
    count = 0
    for count, record in enumerate(read_jsonl(path), start=1):
        if count <= len(labels):
            number, label = labels[count - 1]
            if label not in ("0", "1"):
                raise fault(labels_path, number, f"{label!r} is not 0 or 1")
            yield {**record, "label": int(label)}
    if count != len(labels):
        raise DataError(
            f"{path} has {count} questions, {labels_path.name} {len(labels)} labels.", "Copy both files again."
        )


def _list(path: Path) -> list[Any]:
    tree = read_json_file(path)
    if not isinstance(tree, list):
        raise DataError(f"{path} is not a list of dialogues.", "Copy DREAM's file again.")
    return tree


READERS: dict[str, tuple[tuple[str, ...], Callable[[Path], Iterator[Fields]]]] = {
    "json": ((".json",), read_json),
    "jsonl": ((".jsonl", ".jsonl.gz"), read_jsonl),
    "csv": ((".csv",), read_csv),
    "tsv": ((".tsv",), read_tsv),
    "parquet": ((".parquet",), read_parquet),
    "dream": ((".json",), read_dream),
    "qasc": ((".jsonl",), read_qasc),
    "piqa": ((".jsonl",), read_piqa),
}
"""File endings looked for in a folder, and reader, of each format."""
