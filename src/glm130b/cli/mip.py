"""``glm mip``: instruction data out of datasets and prompt templates."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from glm130b.cli.options import OVERRIDES

if TYPE_CHECKING:
    from glm130b.config import MipConfig

app = typer.Typer(help="Build and look at instruction data (MIP).", no_args_is_help=True)

_SOURCE = typer.Argument(metavar="FOLDER_OR_RECIPE", help="A folder that `glm mip build` wrote, or a recipe.")
_WORKERS = typer.Option(None, "--workers", min=1, metavar="N", help="Processes to render with; default one a core.")


@app.command()
def build(
    recipe: Path = typer.Argument(metavar="RECIPE", help="A YAML file; docs/mip.md describes it."),
    out: Path = typer.Option(metavar="FOLDER", help="The folder to write; it must not exist."),
    workers: int | None = _WORKERS,
    overrides: list[str] = OVERRIDES,
) -> None:
    """Render and tokenise all examples of a recipe."""
    manifest = _build(_config(recipe, overrides), out, workers)
    _print_table(manifest)
    total = sum(int(entry["examples"]) for entry in manifest["datasets"].values())
    typer.echo(f"Wrote {total:,} examples to {out}, fingerprint {manifest['fingerprint']}.")


@app.command()
def stats(source: Path = _SOURCE, workers: int | None = _WORKERS, overrides: list[str] = OVERRIDES) -> None:
    """Print planned against actual examples of every prompt, and tokens.

    A recipe is built into a temporary folder for it.
    """
    from tempfile import TemporaryDirectory

    from glm130b.instructions import InstructionStore

    if source.is_dir():
        manifest = InstructionStore(source).manifest
    else:
        with TemporaryDirectory(prefix="glm-mip-") as folder:
            manifest = _build(_config(source, overrides), Path(folder) / "store", workers)
    _print_table(manifest)
    for name, entry in manifest["datasets"].items():
        seen = f"; seen by evaluation: {', '.join(entry['seen'])}" if entry["seen"] else ""
        typer.echo(f"{name}: {entry['language']}, licence {entry['license'] or 'not given'}{seen}")
        for prompt, reason in entry["left_out"].items():
            typer.echo(f"  without {prompt}: {reason}")
    for name, reason in manifest["left_out"].items():
        typer.echo(f"{name}: left out, {reason}")


@app.command()
def show(
    source: Path = _SOURCE,
    dataset: str | None = typer.Option(None, metavar="NAME", help="Only of this dataset."),
    prompt: str | None = typer.Option(None, metavar="NAME", help="Only of this prompt."),
    count: int = typer.Option(
        1, "--count", "-n", min=1, max=10_000, metavar="N", help="How many, of a recipe by prompt."
    ),
    at: int = typer.Option(0, "--at", min=0, metavar="N", help="Number of the first, counted from 0."),
    overrides: list[str] = OVERRIDES,
) -> None:
    """Print examples: input, target, and their lengths."""
    from glm130b.instructions import InstructionStore, show_recipe, show_store

    if source.is_dir():
        pages = show_store(InstructionStore(source), dataset, prompt, at, count)
    else:
        pages = show_recipe(_config(source, overrides), dataset, prompt, at, count)
    for page in pages:
        typer.echo(page)


@app.command()
def check(
    source: Path = typer.Argument(
        metavar="RECIPE", help="A recipe, a folder of templates, or a folder that was built."
    ),
    records: int = typer.Option(
        50, "--records", min=1, metavar="N", help="How many records of each prompt to look at."
    ),
    overrides: list[str] = OVERRIDES,
) -> None:
    """Look for what is wrong with templates and data.

    Parses and renders with some records; of a built folder, compares checksums.
    """
    from glm130b.config import MipConfig
    from glm130b.errors import DataError
    from glm130b.instructions import InstructionStore, check_recipe

    if (source / "mip.json").is_file():
        InstructionStore(source).verify()
        typer.echo(f"{source} is as it was written.")
        return
    config = MipConfig(templates=str(source)) if source.is_dir() else _config(source, overrides)
    errors = warnings = 0
    for finding in check_recipe(config, records):
        errors, warnings = errors + (finding.level == "error"), warnings + (finding.level == "warning")
        place = ", ".join(part for part in (finding.dataset, finding.prompt) if part)
        typer.echo(f"{finding.level}: {place + ': ' if place else ''}{finding.message}")
    typer.echo(f"{errors} errors, {warnings} warnings")
    if errors:
        raise DataError(
            f"{source} has {errors} error{'s' if errors > 1 else ''}.", "Mend what is listed, or exclude the prompts."
        )


def _config(recipe: Path, overrides: list[str]) -> MipConfig:
    from glm130b.config import MipConfig, load_tree

    return load_tree(MipConfig, recipe, overrides).root


def _build(config: MipConfig, out: Path, workers: int | None) -> dict[str, Any]:
    import os

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from glm130b.instructions import build

    console = Console(stderr=True, highlight=False)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("reading", total=None)
        return build(
            config,
            out,
            workers=workers or os.cpu_count() or 1,
            progress=lambda name, done, total: bar.update(task, description=name, completed=done, total=total),
        )


_COUNTS = ("planned", "applicable", "not_applicable", "failed", "too_long", "written")


def _print_table(manifest: dict[str, Any]) -> None:
    """Counts of every prompt, with sums for each dataset and for all."""
    rows = [["", *(key.replace("_", " ") for key in _COUNTS), "tokens", "mean", "over 512"]]
    for name, entry in manifest["datasets"].items():
        rows.append([name, *_cells(entry["prompts"])])
        rows += [[f"  {prompt['name']}", *_cells([prompt])] for prompt in entry["prompts"]]
    rows.append(["all", *_cells([prompt for entry in manifest["datasets"].values() for prompt in entry["prompts"]])])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *rest in rows:
        cells = (f"{cell:>{width}}" for cell, width in zip(rest, widths[1:], strict=True))
        typer.echo("  ".join((f"{first:<{widths[0]}}", *cells)))


def _cells(prompts: list[dict[str, Any]]) -> list[str]:
    def total(key: str) -> int:
        return sum(int(prompt[key]) for prompt in prompts)

    written = total("written")
    given, target = total("input_tokens"), total("target_tokens")
    mean = f"{given / written:.0f} + {target / written:.0f}" if written else "-"
    share = f"{total('over_512') / written:.1%}" if written else "-"
    return [*(f"{total(key):,}" for key in _COUNTS), f"{given + target:,}", mean, share]
