"""``glm eval list``, ``prompts``: what there is to be run, and every text as a model reads it."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

import typer

from glm130b.cli.eval_options import DATA, TEMPLATES, one_task, options_of


def list_tasks(
    names: list[str] = typer.Argument(None, metavar="[NAMES]", help="Tasks, families or suites; default all."),
    data: Path = DATA,
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> None:
    """List suites and tasks.

    With --data it also says which of them are there, and where the others come from.
    """
    from glm130b.errors import DataError
    from glm130b.evaluation import BUNDLED, aligned, find_files, known_suites, known_tasks, select

    tasks = select(names) if names else list(known_tasks().values())
    if as_json:
        typer.echo(json.dumps([task.model_dump(mode="json") for task in tasks], ensure_ascii=False, indent=2))
        return
    if not names:
        typer.echo("Suites: " + ", ".join(known_suites()) + "\n")
    rows = [("task", "mode", "items", "prompts", "shots", "metrics", "data" if data else "source")]
    for task in tasks:
        where = task.data.source
        if data is not None:
            try:
                root = BUNDLED if task.data.bundled else data
                files = find_files(task, root, task.data.files)
                find_files(task, root, task.data.fewshot if max(task.fewshot.shots) else ())
                where = f"{len(files)} file{'s' if len(files) > 1 else ''}"
            except DataError as error:
                where = f"missing: {error.problem.removeprefix(f'{task.name}: ')} {task.data.source}"
        rows.append(
            (
                task.name,
                task.mode,
                f"{task.data.expects:,}" if task.data.expects else "",
                str(len(task.prompts) or ""),
                ", ".join(map(str, task.fewshot.shots)),
                ", ".join(task.metrics),
                where,
            )
        )
    typer.echo("\n".join(aligned(rows)))


def prompts(
    task: str = typer.Argument(metavar="TASK"),
    data: Path = DATA,
    item: int = typer.Option(0, min=0, metavar="N", help="Which item, counted from 0."),
    shots: int = typer.Option(None, min=0, metavar="K", help="Solved examples; default the task's."),
    only: str = typer.Option(None, "--prompt", metavar="ID", help="One wording; default all."),
    templates: str = TEMPLATES,
    seed: int = typer.Option(0, metavar="N", help="Of the choice of examples."),
) -> None:
    """Print an item as a model reads it, in every wording.

    The blank is where [MASK] stands, or at the end. The right option is marked.
    """
    from glm130b.evaluation import asked_texts

    chosen = one_task(task)
    options = options_of(None, [] if shots is None else [shots], [only] if only else [], templates, None, seed)
    for question, source in asked_texts(chosen, data, options, item):
        count = f", {question.shots} examples" if question.shots else ""
        typer.echo(f"--- {question.prompt or 'text'}{count} ({source}), item {question.item.id}")
        typer.echo(textwrap.indent(question.text, "  "))
        for number, option in enumerate(question.options):
            typer.echo(f"  {'*' if number in question.item.labels else '-'} {option}")
        if question.item.references:
            typer.echo(f"  = {' | '.join(question.item.references)}")
