"""``glm eval run``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

import typer

from glm130b.cli.eval_options import ATTENTION, DATA, LIMIT, PROMPTS, SEED, SHOTS, TEMPLATES, options_of
from glm130b.cli.options import BITS, DEVICES, DTYPE, GROUP, Group, group_size, torch_dtype

if TYPE_CHECKING:
    from glm130b.evaluation import Step, Task
    from glm130b.model import Bits

_LOG_SECONDS = 10.0
_FEW = 20


def run(
    names: list[str] = typer.Argument(None, metavar="[NAMES]", help="Suites, families or tasks; default quick."),
    model: Path = typer.Option(Path("runs/demo"), metavar="FOLDER", help="A run, a checkpoint or a model folder."),
    data: Path = DATA,
    out: Path = typer.Option(None, metavar="FOLDER", help="Results; default eval/ and the model's name."),
    limit: int = LIMIT,
    shots: list[int] = SHOTS,
    prompts: list[str] = PROMPTS,
    templates: str = TEMPLATES,
    attention: str = ATTENTION,
    bits: int = BITS,
    group: Group | None = GROUP,
    device: str = DEVICES,
    dtype: str = DTYPE,
    batch_tokens: int = typer.Option(None, min=1, metavar="N", help="Tokens read at once; default by the device."),
    skip_missing: bool = typer.Option(False, "--skip-missing", help="Leave out tasks whose files are not there."),
    seed: int = SEED,
    as_json: bool = typer.Option(False, "--json", help="Print the results as JSON."),
) -> None:
    """Measure a model on suites or tasks.

    Every answer is kept in the folder of results as it comes, so that a run that was stopped goes on where it was,
    and a second run asks nothing twice. `glm eval show` looks into what was found, `glm eval compare` sets two
    models side by side, `glm report` makes a page of it.
    """
    from glm130b.errors import DataError
    from glm130b.evaluation import evaluate, results_text, select

    tasks = select(names or ["quick"])
    folder = out or Path("eval") / (model.resolve().name + (f"-int{bits}" if bits else ""))
    options = options_of(limit, shots, prompts, templates, attention, seed)
    with _progress(tasks) as on_step:
        results = evaluate(
            tasks,
            model,
            folder,
            data=data,
            options=options,
            suites=tuple(names or ["quick"]),
            bits=cast("Bits | None", bits),
            group_size=group_size(group),
            device=device,
            dtype=torch_dtype(dtype),
            batch_tokens=batch_tokens,
            skip_missing=skip_missing,
            on_step=on_step,
            tell=lambda sentence: typer.echo(sentence, err=True),
        )
    if as_json:
        typer.echo(results.model_dump_json(indent=1, by_alias=True))
    else:
        typer.echo(results_text(results))
        typer.echo(f"\nWritten to {folder}. Next: glm eval show {folder} TASK, glm report {folder}")
    if results.failed:
        raise DataError(
            f"{len(results.failed)} of the tasks failed: {', '.join(results.failed)}.", "Mend or leave out."
        )


@contextmanager
def _progress(tasks: list[Task]) -> Iterator[Callable[[Step], None]]:
    """A bar for the task and its number, or a line now and then where nobody watches."""
    import time

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True, highlight=False)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )
    number, line = bar.add_task("", total=None, rate=""), time.monotonic()
    names = [task.name for task in tasks]
    name, begun, first = "", 0.0, 0.0

    def on_step(step: Step) -> None:
        nonlocal line, name, begun, first
        now = time.monotonic()
        if step.task != name:
            name, begun, first = step.task, now, step.done
            bar.reset(number, total=step.total)
        rate = (step.done - first) / max(now - begun, 1e-9)
        place = f"{name} ({names.index(name) + 1} of {len(names)})"
        bar.update(number, description=place, completed=step.done, total=step.total, rate=f"{rate:.3g} items/s")
        if not console.is_terminal and now - line > _LOG_SECONDS and first < step.done < step.total:
            line = now
            left = f", {(step.total - step.done) / rate:.0f} s left" if rate else ""
            done = f"{step.done:.2f}" if step.total < _FEW else f"{step.done:.0f}"
            console.print(f"{place}: {done} of {step.total} items, {rate:.3g} items/s{left}")

    with bar:
        yield on_step
