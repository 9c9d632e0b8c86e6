"""From a folder of data sets to the items of a task."""

from __future__ import annotations

import inspect
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import glm130b
from glm130b.errors import ConfigError, DataError
from glm130b.evaluation.items import Item
from glm130b.evaluation.readers import READERS
from glm130b.evaluation.results import DataFile
from glm130b.evaluation.task import Task
from glm130b.files import sha256_of_file

BUNDLED = Path(glm130b.__file__).resolve().parent / "data" / "evaluation"


@dataclass(frozen=True)
class Loaded:
    """A task's items.

    Attributes:
        items: to be scored.
        available: items in the files.
        pool: what solved examples may be taken from.
        files: what was read.
    """

    items: list[Item]
    available: int
    pool: list[Item]
    files: tuple[DataFile, ...]


def load_items(task: Task, data: Path | None, *, limit: int | None = None, shots: int = 0, seed: int = 0) -> Loaded:
    """Read a task's files.

    Args:
        data: folder that holds the data sets; not needed for tasks that come with the package.
        limit: score so many items, drawn evenly by the seed, in the order of the files; items that make up one
            question or pair (``question_id`` or ``pair`` among their fields) stay together, so there may be some more.
        shots: read the files of solved examples too if it is not 0.

    Raises:
        DataError: a file is missing or not what it should be, or holds no item.
    """
    root = BUNDLED if task.data.bundled else data
    if root is None:
        raise _missing(task, f"its data are not part of this program: {', '.join(task.data.files)}")
    paths = find_files(task, root, task.data.files)
    items = _read(task, paths)
    available = len(items)
    if limit is not None and limit < available:
        items = _drawn(items, limit, f"{task.name}/{seed}")
    examples = find_files(task, root, task.data.fewshot) if shots and task.data.fewshot else []
    pool = _read(task, examples) if examples else []
    files = tuple(
        DataFile(path=str(path.relative_to(root)), bytes=path.stat().st_size, sha256=sha256_of_file(path))
        for path in dict.fromkeys([*paths, *examples])
    )
    return Loaded(items, available, pool, files)


def split_by_data(tasks: Sequence[tuple[Task, int]], data: Path | None) -> tuple[list[Task], dict[str, str]]:
    """Tasks whose files are there, and of the others, by name, what is missing.

    Args:
        tasks: with the most solved examples that each of them is asked with.
    """
    there: list[Task] = []
    missing: dict[str, str] = {}
    for task, shots in tasks:
        root = BUNDLED if task.data.bundled else data
        try:
            if root is None:
                raise _missing(task, "its data are not part of this program")
            find_files(task, root, [*task.data.files, *(task.data.fewshot if shots else ())])
            there.append(task)
        except DataError as error:
            missing[task.name] = f"{error.problem} {error.next_step}"
    return there, missing


def find_files(task: Task, root: Path, patterns: Sequence[str]) -> list[Path]:
    """Files below ``root`` that a task's patterns match; one that ends in ``?`` need not.

    Raises:
        DataError: a pattern matches nothing.
    """
    found: list[Path] = []
    for pattern in patterns:
        matches = sorted(path for path in root.glob(pattern.removesuffix("?")) if path.is_file())
        if not matches and not pattern.endswith("?"):
            raise _missing(task, f"there is no {root / pattern}")
        found += matches
    if patterns and not found:
        names = ", ".join(pattern.removesuffix("?") for pattern in patterns)
        raise _missing(task, f"{root} holds none of {names}")
    return found


def _missing(task: Task, problem: str) -> DataError:
    where = f"{task.data.source} ({task.data.licence})"
    return DataError(f"{task.name}: {problem}.", f"Fetch the data from {where}, or name its folder with --data.")


def _drawn(items: Sequence[Item], limit: int, seed: str) -> list[Item]:
    together: dict[object, list[int]] = {}
    for n, item in enumerate(items):
        whole = item.fields.get("question_id") or item.fields.get("pair") or item.id
        together.setdefault(whole, []).append(n)
    questions = list(together.values())
    random.Random(seed).shuffle(questions)
    chosen: list[int] = []
    while len(chosen) < limit:
        chosen += questions.pop()
    return [items[n] for n in sorted(chosen)]


def _read(task: Task, paths: Sequence[Path]) -> list[Item]:
    if task.data.reader not in READERS:
        raise ConfigError(
            f"{task.name} names the reader {task.data.reader!r}.", f"Readers are {', '.join(sorted(READERS))}."
        )
    read = READERS[task.data.reader]
    try:
        inspect.signature(read).bind(paths, **task.data.options)
    except TypeError as error:
        raise ConfigError(
            f"{task.name}: the reader {task.data.reader} takes no such options: {error}.", "Mend data.options."
        ) from None
    items = list(read(paths, **task.data.options))
    if not items:
        raise DataError(f"{task.name}: {', '.join(map(str, paths))} holds no item.", "Fetch the file again.")
    ids = {item.id for item in items}
    if len(ids) < len(items):
        raise DataError(f"{task.name}: two items of {paths[0]} have the same id.", "Fetch the file again.")
    return items
