"""Which tasks and suites there are."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from glm130b.errors import ConfigError
from glm130b.evaluation.metrics import METRICS
from glm130b.evaluation.readers import READERS
from glm130b.evaluation.task import Task
from glm130b.lines import read_yaml_file

_HERE = Path(__file__).parent


@cache
def known_tasks() -> dict[str, Task]:
    """Every task that comes with the package, by name, sorted."""
    tasks = [task for file in sorted((_HERE / "tasks").glob("*.yaml")) for task in read_tasks(file)]
    names = [task.name for task in tasks]
    assert len(set(names)) == len(names), sorted(name for name in names if names.count(name) > 1)
    return {task.name: task for task in sorted(tasks, key=lambda task: task.name)}


@cache
def known_suites() -> dict[str, tuple[str, ...]]:
    """Names of tasks by suite; a name that ends in ``/`` stands for a family."""
    tree: dict[str, list[str]] = read_yaml_file(_HERE / "suites.yaml")
    return {name: tuple(members) for name, members in tree.items()}


def read_tasks(file: Path) -> list[Task]:
    """The tasks of one YAML file: one, or a list under ``tasks``; with ``each``, one for each of its values.

    Raises:
        ConfigError: no such file, no such YAML, or not a task, naming the key.
    """
    tree = read_yaml_file(file)
    entries = tree.get("tasks", [tree]) if isinstance(tree, dict) else None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ConfigError(f"{file} is neither a task nor a list of them under `tasks`.", "See docs/evaluation.md.")
    return [_task(file, tree) for entry in entries for tree in _each(file, entry)]


def select(names: Sequence[str]) -> list[Task]:
    """Tasks by name, family (``clue``), suite, or path of a YAML file; each once, in the order given.

    Raises:
        ConfigError: a name that is none of these; the nearest are told.
    """
    found: dict[str, Task] = {}
    for name in names:
        if name.endswith((".yaml", ".yml")):
            found |= {task.name: task for task in read_tasks(Path(name))}
        else:
            found |= {task.name: task for task in _named(name)}
    return list(found.values())


def _named(name: str) -> list[Task]:
    tasks, suites = known_tasks(), known_suites()
    if name in suites:
        return [task for member in suites[name] for task in _named(member)]
    if name in tasks:
        return [tasks[name]]
    family = [task for task in tasks.values() if task.name.startswith(name.rstrip("/") + "/")]
    if family:
        return family
    known = dict.fromkeys([*suites, *(task.split("/")[0] for task in tasks), *tasks])
    near = difflib.get_close_matches(name, known, n=3)
    raise ConfigError(
        f"There is no task or suite {name!r}.",
        f"Did you mean {' or '.join(near)}?" if near else "`glm eval list` prints all.",
    )


def _each(file: Path, entry: dict[str, Any]) -> list[dict[str, Any]]:
    entry = dict(entry)  # YAML's aliases may make others of it
    values = entry.pop("each", None)
    own = {key: entry.pop(f"each_{key}", {}) for key in ("expects", "published")}
    if values is None:
        return [entry]
    if not (
        isinstance(values, list)
        and isinstance(entry.get("data"), dict)
        and all(isinstance(by_value, dict) for by_value in own.values())
    ):
        raise ConfigError(
            f"{file}, task {entry.get('name', 'without a name')}: `each` is no list, or what goes with it no mapping.",
            "Give it a list, `data` a mapping, and `each_expects` and `each_published` one by its values.",
        )
    trees = []
    for value in values:
        tree = _filled(entry, str(value))
        if value in own["expects"]:
            tree["data"]["expects"] = own["expects"][value]
        if value in own["published"]:
            tree["published"] = own["published"][value]
        trees.append(tree)
    return trees


def _filled(value: Any, name: str) -> Any:
    if isinstance(value, str):
        return value.replace("{each}", name)
    if isinstance(value, dict):
        return {key: _filled(below, name) for key, below in value.items()}
    return [_filled(below, name) for below in value] if isinstance(value, list) else value


def _task(file: Path, tree: dict[str, Any]) -> Task:
    try:
        task = Task.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise ConfigError(
            f"{file}, task {tree.get('name', 'without a name')}: {key + ': ' if key else ''}{first['msg']}.",
            "See docs/evaluation.md for the fields of a task.",
        ) from None
    for kind, names, known in (("reader", [task.data.reader], READERS), ("metric", task.metrics, METRICS)):
        for name in names:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=3) or sorted(known)
                raise ConfigError(
                    f"{file}, task {task.name}: there is no {kind} {name!r}.", f"There are {', '.join(near)}."
                )
    return task
