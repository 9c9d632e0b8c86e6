"""Tasks of the harness through a model of ours, from the command line."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import yaml

from glm130b.errors import ConfigError
from glm130b.files import write_whole

_BOOTSTRAPS = 1000
_ADVICE = "Custom kwargs can be passed"
"""The harness gives it for every task whose lines a function reads, as exported ones' are."""

SETTINGS = ("mask", "attention", "window", "scored")


class _Loader(yaml.SafeLoader):
    """Reads the harness's YAML; functions are names."""


def _name(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> str:
    return str(loader.construct_scalar(node))


_Loader.add_constructor("!function", _name)


def run_harness(
    tasks: Sequence[str],
    model: Path,
    out: Path,
    *,
    folders: Sequence[Path] = (),
    limit: int | None = None,
    shots: int | None = None,
    use_cache: bool = False,
    settings: dict[str, Any] | None = None,
    **opened: Any,
) -> dict[str, Any]:
    """Run tasks and write the harness's own results into ``out``: ``results.json``, and ``samples/`` in JSON lines.

    Args:
        tasks: names, tags or patterns.
        model: a run, a checkpoint, a model folder or an official checkpoint.
        folders: of tasks beside the harness's own, which are not even looked up if these have all that is asked for.
        limit: so many first documents of each task.
        shots: ``num_fewshot``, for tasks that leave it open; exported ones have their examples in the text.
        use_cache: let the harness keep answers in ``out`` and take them from there.
        settings: mask, attention, window and scored, see ``GLMHarness``; default those that exported tasks ask for.
        opened: as of ``GLMHarness.load``.

    Returns:
        What was written, and the samples under ``samples``.

    Raises:
        ConfigError: there is no such task; or exported tasks were made for other settings.
        GLMError: as ``GLMHarness.load``.
    """
    from glm130b.evaluation.harness.bridge import GLMHarness

    known = {name: tree for folder in folders for name, tree in _local(folder).items()}
    chosen = [[tree for name, tree in known.items() if _is_meant(name, tree, task)] for task in tasks]
    wanted = settings_of([tree for trees in chosen for tree in trees], settings or {})

    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager
    from lm_eval.utils import handle_non_serializable

    logging.getLogger("lm_eval.api.task").addFilter(_is_no_advice)
    manager = TaskManager(include_path=[*map(str, folders)] or None, include_defaults=not all(chosen))
    missing = [task for task in tasks if not manager.match_tasks([task])]
    if missing:
        raise ConfigError(f"The harness has no task {', '.join(missing)}.", "Name the folder of your own with --tasks.")
    bridge = GLMHarness.load(model, memory=out, **wanted, **opened)
    results: dict[str, Any] = simple_evaluate(
        bridge,
        tasks=manager.match_tasks(list(tasks)),
        task_manager=manager,
        num_fewshot=shots,
        limit=limit,
        use_cache=str(out / "answers") if use_cache else None,
        bootstrap_iters=_BOOTSTRAPS,
    )

    def text_of(value: Any) -> str:
        return json.dumps(value, default=handle_non_serializable, ensure_ascii=False)

    for name, samples in results["samples"].items():
        write_whole(out / "samples" / f"{name}.jsonl", "".join(f"{text_of(sample)}\n" for sample in samples))
    written = {key: value for key, value in results.items() if key != "samples"}
    write_whole(out / "results.json", text_of(written) + "\n")
    return results


def settings_of(trees: Sequence[dict[str, Any]], given: dict[str, Any]) -> dict[str, Any]:
    """How to put texts to a model for these tasks: as is given, which must not gainsay any of them, or as they say.

    Raises:
        ConfigError: they were exported for something else, or for different things.
    """
    found = {name: value for name, value in given.items() if value is not None}
    for tree in trees:
        metadata = tree.get("metadata")
        facts = metadata.get("glm130b", {}) if isinstance(metadata, dict) else {}
        for name in SETTINGS:
            if facts.get(name) is not None and found.setdefault(name, facts[name]) != facts[name]:
                raise ConfigError(
                    f"{tree['task']} was exported for {name} {facts[name]}, and {found[name]} is asked for.",
                    "Run tasks that differ in it one after the other, each into its own folder.",
                )
    return found


def _local(folder: Path) -> dict[str, dict[str, Any]]:
    """The tasks of a folder by name."""
    found = {}
    for file in sorted(folder.rglob("*.yaml")):
        try:
            tree = yaml.load(file.read_text(encoding="utf-8"), Loader=_Loader)
        except (OSError, UnicodeDecodeError, yaml.YAMLError):
            raise ConfigError(f"{file} is not YAML.", "Mend it, or name another folder of tasks.") from None
        if isinstance(tree, dict) and isinstance(tree.get("task"), str):
            found[tree["task"]] = tree
    return found


def _is_meant(name: str, tree: dict[str, Any], task: str) -> bool:
    tags = tree.get("tag") or []
    return any(fnmatch(one, task) for one in (name, *([tags] if isinstance(tags, str) else tags)))


def _is_no_advice(record: logging.LogRecord) -> bool:
    return _ADVICE not in record.getMessage()
