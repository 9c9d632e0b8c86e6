"""``glm eval show``: from a score down to one item."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from glm130b.evaluation import TaskResult


def show(
    results: Path = typer.Argument(metavar="RESULTS", help="The folder that `glm eval run` wrote."),
    task: str | None = typer.Argument(None, metavar="[TASK]", help="One task; default the table of all."),
    item: int | None = typer.Option(None, "--item", min=0, metavar="N", help="One item, counted from 0."),
    wrong: bool = typer.Option(False, "--wrong", help="The first items that were not answered rightly."),
    number: int = typer.Option(3, "--number", min=1, metavar="N", help="So many of them."),
    prompt: str | None = typer.Option(None, "--prompt", metavar="ID", help="The wording; default the first measured."),
) -> None:
    """Show scores; with TASK its prompts and groups; with --item or --wrong what the model read and answered."""
    from glm130b.evaluation import read_results, results_text, task_result

    found = read_results(results)
    if task is None:
        typer.echo(results_text(found))
        return
    chosen = task_result(found, task)
    if item is None and not wrong:
        typer.echo("\n".join(_about(chosen)))
        return
    for sample, asked in _samples(results, chosen, prompt, item, wrong, number):
        typer.echo(f"--- {sample['id']}, {sample['measurement']}")
        typer.echo(textwrap.indent(asked["text"], "  "))
        typer.echo("\n".join(_answer(sample, asked["options"])))


def _about(task: TaskResult) -> Iterator[str]:
    from glm130b.evaluation import aligned, interval_text, number_text

    yield f"{task.title}, {task.split}: {task.items:,} items, asked with {task.mask}. {task.notes}".strip()
    yield f"Data: {', '.join(file.path for file in task.files)} ({task.licence}, {task.source})"
    yield ""
    rows = [("prompt", "shots", "attention", "metric", "score", "95 % interval", "cut")]
    for one in task.measurements:
        for score in one.scores:
            name = f"{score.title}{', macro' if score.aggregate == 'macro' else ''}"
            shown = number_text(score.value, score.percent)
            rows.append(
                (one.prompt or "-", str(one.shots), one.attention, name, shown, interval_text(score), str(one.cut))
            )
    yield from aligned(rows)
    for one in task.measurements:
        for score in one.scores:
            if score.groups:
                yield f"\n{one.prompt or '-'}, {one.shots} examples, {one.attention}: {score.title} by group"
                table = [("group", "score", "95 % interval", "items")]
                for name, (value, low, high, units) in score.groups.items():
                    ends = f"{number_text(low, score.percent)} to {number_text(high, score.percent)}"
                    table.append((name or "-", number_text(value, score.percent), ends, str(units)))
                yield from aligned(table)


def _samples(
    folder: Path, task: TaskResult, prompt: str | None, item: int | None, wrong: bool, number: int
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    from glm130b.errors import ConfigError, DataError
    from glm130b.evaluation import read_task_records

    measured = [one for one in task.measurements if prompt is None or one.prompt == prompt]
    if not measured:
        known = ", ".join(dict.fromkeys(one.prompt for one in task.measurements))
        raise ConfigError(f"{task.name} was not measured with a prompt {prompt}.", f"There are: {known}.")
    key = measured[0].key
    samples = [line for line in read_task_records(folder, "samples", task.name) if line["measurement"] == key]
    asked = [line for line in read_task_records(folder, "prompts", task.name) if line["measurement"] == key]
    if [line["id"] for line in samples] != [line["id"] for line in asked] or not samples:
        raise DataError(f"The samples and prompts of {task.name} in {folder} are of two runs.", "Run it again.")
    if item is not None and item >= len(samples):
        raise ConfigError(f"{task.name} has {len(samples)} items.", f"Ask for one from 0 to {len(samples) - 1}.")
    pairs = list(zip(samples, asked, strict=True))
    if item is not None:
        yield pairs[item]
        return
    yield from [pair for pair in pairs if not _right(pair[0])][:number]


def _right(sample: dict[str, Any]) -> bool:
    if "choice" in sample:
        return sample["choice"] in sample.get("labels", [])
    return bool(sample.get("texts")) and sample["texts"][0].strip() in sample.get("references", [])


def _answer(sample: dict[str, Any], options: list[str]) -> Iterator[str]:
    for number, option in enumerate(options):
        right = "*" if number in sample.get("labels", []) else "-"
        chosen = "  <- chosen" if number == sample["choice"] else ""
        yield f"  {right} {option}   {sample['scores'][number]:.3f}{chosen}"
    for text, ended in zip(sample.get("texts", []), sample.get("ended", []), strict=True):
        yield f"  > {text.strip()}{'' if ended else ' …'}"
    if sample.get("references"):
        yield f"  = {' | '.join(sample['references'])}"
    for name in ("nats", "words", "bytes", "first", "second"):
        if name in sample:
            yield f"  {name}: {sample[name]:,.2f}"
