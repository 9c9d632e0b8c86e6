"""``glm eval harness``, ``export-harness``: lm-evaluation-harness."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from glm130b.cli.eval_options import ATTENTION, DATA, LIMIT, PROMPTS, SEED, SHOTS, TEMPLATES, options_of
from glm130b.cli.options import BITS, DEVICES, DTYPE, GROUP, Group, group_size, torch_dtype

if TYPE_CHECKING:
    pass


def export_harness(
    names: list[str] = typer.Argument(metavar="TASKS", help="Tasks, families or suites."),
    out: Path = typer.Option(..., metavar="FOLDER", help="Gets a folder for each task."),
    data: Path = DATA,
    limit: int = LIMIT,
    shots: list[int] = SHOTS,
    prompts: list[str] = PROMPTS,
    templates: str = TEMPLATES,
    attention: str = ATTENTION,
    seed: int = SEED,
) -> None:
    """Write tasks as task folders of lm-evaluation-harness.

    Texts are written as a model reads them, solved examples and all. The harness scores them to the same numbers as
    `glm eval run`. Run them with `glm eval harness`, or from Python: see docs/harness.md.
    """
    from glm130b.evaluation import select
    from glm130b.evaluation.harness import export_task

    options = options_of(limit, shots, prompts, templates, attention, seed)
    for task in select(names):
        for name in export_task(task, out, data=data, options=options):
            typer.echo(name)
    typer.echo(f"\nWritten to {out}. Next: glm eval harness TASK --tasks {out} --model FOLDER --out FOLDER")


def harness(
    names: list[str] = typer.Argument(metavar="TASKS", help="Names, tags or patterns of the harness."),
    out: Path = typer.Option(..., metavar="FOLDER", help="Results."),
    model: Path = typer.Option(Path("runs/demo"), metavar="FOLDER", help="A run, a checkpoint or a model folder."),
    folders: list[Path] = typer.Option(
        [], "--tasks", metavar="FOLDER", exists=True, file_okay=False, help="Tasks of your own; may be repeated."
    ),
    mask: str = typer.Option(None, help="[MASK] or [gMASK]; default as exported tasks ask for, or [MASK]."),
    attention: str = typer.Option(None, help="bidirectional or unidirectional; likewise."),
    window: int = typer.Option(None, min=1, metavar="N", help="Tokens of a window of a document; likewise, or 2048."),
    scored: int = typer.Option(None, min=1, metavar="N", help="Tokens that a window adds; likewise, or 1024."),
    limit: int = typer.Option(None, min=1, metavar="N", help="The first so many documents of each task."),
    shots: int = typer.Option(None, min=0, metavar="K", help="Solved examples, where a task leaves it open."),
    use_cache: bool = typer.Option(False, "--cache", help="Keep answers in --out, and take them from there."),
    bits: int = BITS,
    group: Group | None = GROUP,
    device: str = DEVICES,
    dtype: str = DTYPE,
    batch_tokens: int = typer.Option(8192, min=1, metavar="N", help="Tokens read at once."),
) -> None:
    """Run tasks of lm-evaluation-harness on a model.

    Needs the extra `harness`. The results are the harness's own.
    """
    from glm130b.evaluation.harness import run_harness

    settings: dict[str, Any] = {"mask": mask, "attention": attention, "window": window, "scored": scored}
    results = run_harness(
        names,
        model,
        out,
        folders=folders,
        limit=limit,
        shots=shots,
        use_cache=use_cache,
        settings=settings,
        bits=bits,
        group_size=group_size(group),
        device=device,
        dtype=torch_dtype(dtype),
        batch_tokens=batch_tokens,
    )
    from lm_eval.utils import make_table

    typer.echo(make_table(results))
    typer.echo(f"Written to {out}.")
