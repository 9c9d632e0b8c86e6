"""Options of what is measured, shared by ``glm eval`` commands."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

import typer

if TYPE_CHECKING:
    from glm130b.evaluation import Attention, Options, Task

DATA = typer.Option(
    None, metavar="FOLDER", help="Holds the data sets, each in its official layout; see docs/evaluation.md."
)
LIMIT = typer.Option(None, min=1, metavar="N", help="So many items of each task, drawn evenly.")
SHOTS = typer.Option([], min=0, metavar="K", help="Solved examples; may be repeated.")
PROMPTS = typer.Option([], "--prompt", metavar="ID", help="Only this wording; may be repeated.")
TEMPLATES = typer.Option(
    None, metavar="FOLDER:DATASET", help="Wordings of a PromptSource checkout instead of a task's own."
)
ATTENTION = typer.Option(None, help="bidirectional or unidirectional; default as each task says.")
SEED = typer.Option(0, metavar="N", help="Of --limit and of the choice of examples.")


def options_of(
    limit: int | None, shots: list[int], prompts: list[str], templates: str | None, attention: str | None, seed: int
) -> Options:
    """What these options ask for.

    Raises:
        ConfigError: one of them is none of its values.
    """
    from glm130b.errors import ConfigError
    from glm130b.evaluation import Options

    if attention not in (None, "bidirectional", "unidirectional"):
        raise ConfigError(f"There is no attention {attention!r}.", "Use bidirectional or unidirectional.")
    return Options(
        limit=limit,
        shots=tuple(shots) or None,
        prompts=tuple(prompts),
        templates=_templates(templates),
        attention=(cast("Attention", attention),) if attention else None,
        seed=seed,
    )


def one_task(name: str) -> Task:
    """The task of a name.

    Raises:
        ConfigError: there is none, or several.
    """
    from glm130b.errors import ConfigError
    from glm130b.evaluation import select

    tasks = select([name])
    if len(tasks) != 1:
        raise ConfigError(f"{name} is {len(tasks)} tasks.", f"Name one of {', '.join(task.name for task in tasks)}.")
    return tasks[0]


def _templates(text: str | None) -> tuple[Path, str] | None:
    from glm130b.errors import ConfigError

    if text is None:
        return None
    root, colon, dataset = text.rpartition(":")
    if not (colon and root and dataset):
        raise ConfigError(f"--templates {text} names no dataset.", "Write FOLDER:DATASET, such as templates:piqa.")
    return Path(root), dataset
