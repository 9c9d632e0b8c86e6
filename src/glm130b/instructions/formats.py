"""From a dataset's path to its records: the format, found out or given, and its reader."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from glm130b.config import MipDataset
from glm130b.errors import DataError
from glm130b.instructions.corpora import ADE_FILES, read_ade, read_fewrel, read_multiwoz
from glm130b.instructions.neutral import Record, read_neutral
from glm130b.instructions.propbank import read_propbank
from glm130b.instructions.tables import READERS, Fields
from glm130b.instructions.tagged import read_conll04, read_genia, read_snips
from glm130b.lines import files_of, read_lines

STRUCTURED: dict[str, tuple[tuple[str, ...], Callable[[Path], Iterator[Record]]]] = {
    "conll04": ((".txt",), read_conll04),
    "ade": (ADE_FILES, read_ade),
    "genia": ((".iob2",), read_genia),
    "propbank": ((".conllu",), read_propbank),
    "fewrel": ((".json",), read_fewrel),
    "snips": (("seq.in",), read_snips),
    "multiwoz": ((".json",), read_multiwoz),
    "neutral": ((".jsonl", ".jsonl.gz"), read_neutral),
}
"""File endings looked for in a folder, and reader, of each structured format."""

_ENDINGS = {".csv": "csv", ".tsv": "tsv", ".parquet": "parquet", ".iob2": "genia", ".conllu": "propbank", ".rel": "ade"}
_PEEK = 20_000


def find_format(path: Path, structured: bool) -> str:
    """The format of a file or folder, from its name and its beginning.

    Args:
        structured: whether tasks or templates will be applied, which settles what JSON lines are.

    Raises:
        DataError: it is none of those known.
    """
    if not path.exists():
        raise DataError(f"There is no file or folder {path}.", "Check the path of the dataset.")
    if path.is_dir():
        names = {file.name for file in path.rglob("*") if file.is_file()}
        if names & set(ADE_FILES):
            return "ade"
        if "seq.in" in names:
            return "snips"
        if any(re.fullmatch(r"dialogues_\d+\.json", name) for name in names):
            return "multiwoz"
        found = {_of_file(file, structured) for file in sorted(path.rglob("*")) if file.is_file()} - {""}
        if len(found) == 1:
            return found.pop()
        raise DataError(
            f"{path} holds {'files of several formats' if found else 'no file of a known format'}.",
            "Give the dataset its format, or one file as its path.",
        )
    name = _of_file(path, structured)
    if not name:
        raise DataError(f"{path} is of no known format.", "Give the dataset its format.")
    return name


def _of_file(path: Path, structured: bool) -> str:
    name = path.name.removesuffix(".gz")
    suffix = Path(name).suffix
    if suffix in _ENDINGS:
        return _ENDINGS[suffix]
    if path.name in ADE_FILES:
        return "ade"
    if suffix == ".txt":
        first = next((line for _, line in read_lines(path)), "")
        return "conll04" if first.startswith("#doc") else ""
    if suffix == ".jsonl":
        if structured:
            return "neutral"
        if path.with_name(f"{path.stem}-labels.lst").is_file():
            return "piqa"
        try:
            record = json.loads(next((line for _, line in read_lines(path) if line.strip()), ""))
        except ValueError:
            return "jsonl"
        question = record.get("question") if isinstance(record, dict) else None
        return "qasc" if isinstance(question, dict) and "stem" in question else "jsonl"
    return _of_json(path) if suffix == ".json" and path.name != "pid2name.json" else ""


def _of_json(path: Path) -> str:
    start = ""
    for _, line in read_lines(path):
        start += line.strip()
        if len(start) > _PEEK:
            break
    if re.match(r'\{"P\d+":\s*\[\{"tokens"', start):
        return "fewrel"
    if re.match(r"\[\s*\[\s*\[", start):
        return "dream"
    return "multiwoz" if re.match(r"\[\{", start) and '"dialogue_id"' in start and '"turns"' in start else "json"


def read_fields(dataset: MipDataset) -> Iterator[Fields]:
    """Records as fields by name, with ``classes`` and ``integers`` turned into numbers.

    Raises:
        DataError: a path is missing, a record is malformed, or a field is not what the recipe says.
    """
    for path, name in _files(dataset, structured=False):
        for number, record in enumerate(READERS[name][1](path)):
            yield _numbered(dataset, record, path, number)


def read_structure(dataset: MipDataset) -> Iterator[Record]:
    """Records of the neutral schema.

    Raises:
        DataError: a path is missing, or a record malformed.
    """
    for path, name in _files(dataset, structured=True):
        yield from STRUCTURED[name][1](path)


def _files(dataset: MipDataset, structured: bool) -> Iterator[tuple[Path, str]]:
    known = STRUCTURED if structured else READERS
    for given in dataset.path:
        name = find_format(Path(given), structured) if dataset.format == "auto" else dataset.format
        if name not in known:
            raise DataError(
                f"{given} is of the format {name}, which {'tasks' if structured else 'templates'} are not made for.",
                f"Use {'templates' if structured else 'task'} instead, or one of {', '.join(known)}.",
            )
        if name == "ade":
            yield Path(given), name
            continue
        for path in files_of([given], known[name][0]):
            if path.name not in ("pid2name.json", "schema.json", "dialog_acts.json"):
                yield (path.parent if path.name == "seq.in" else path), name


def _numbered(dataset: MipDataset, record: Fields, path: Path, number: int) -> Fields:
    try:
        integers = {name: int(record[name]) for name in dataset.integers}
        classes = {name: classes.index(record[name]) for name, classes in dataset.classes.items()}
    except KeyError as error:
        problem = f"has no field {error.args[0]!r}"
    except (ValueError, TypeError) as error:
        problem = f"has a field that is no number or class of the recipe ({error})"
    else:
        return {**record, **integers, **classes}
    raise DataError(f"{path}: record {number} {problem}.", "Mend `classes` or `integers` of the dataset.")
