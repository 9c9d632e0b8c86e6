"""Whether a model has been trained on a task, or on tasks of its kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from glm130b.config import load_config
from glm130b.errors import GLMError
from glm130b.evaluation.task import Task
from glm130b.instructions import seen_tasks

Kind = Literal["none", "label_space", "dataset", "unknown"]


@dataclass(frozen=True)
class Seen:
    """What a model's instruction data had in common with tasks.

    Attributes:
        datasets: of a model trained here, the datasets that spoil each evaluation task, by the task's family or
            name; None where its instruction data cannot be looked up.
        official: the model is the paper's, whose mixture task files know.
    """

    datasets: Mapping[str, tuple[str, ...]] | None
    official: bool = False

    def of(self, task: Task) -> tuple[Kind, tuple[str, ...]]:
        """How a task counts, and the datasets that make it so."""
        if self.official:
            return task.seen_in_mip, ()
        if self.datasets is None:
            return "unknown", ()
        names = (task.name, task.name.split("/")[0], task.family)
        by = tuple(sorted({dataset for name in names for dataset in self.datasets.get(name, ())}))
        return ("dataset" if by else "none"), by


def seen_of(run: Path | None, *, official: bool) -> Seen:
    """Look up what a run's instruction data made seen; its recipe says so, and the store it was trained on."""
    if official or run is None or not (run / "config.yaml").is_file():
        return Seen(None, official)
    found: dict[str, set[str]] = {}
    try:
        for source in load_config(run / "config.yaml").run.data.instructions.values():
            for task, names in seen_tasks(source.path).items() if source is not None else ():
                found.setdefault(task, set()).update(names)
    except GLMError:
        return Seen(None)
    return Seen({task: tuple(sorted(names)) for task, names in found.items()})
