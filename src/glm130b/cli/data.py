"""``glm data``: build a corpus, look at its ledger, check its files."""

from __future__ import annotations

import shlex
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from glm130b.cli.options import OVERRIDES

if TYPE_CHECKING:
    from glm130b.config import BuildConfig

_MAX_NAMES = 10

app = typer.Typer(help="Build a corpus of token shards, and check it.", no_args_is_help=True)


class Engine(StrEnum):
    """What runs the tasks."""

    LOCAL = "local"
    DATATROVE = "datatrove"
    SLURM = "slurm"
    RAY = "ray"


@app.command(short_help="Turn documents into token shards.")
def build(
    inputs: list[Path] = typer.Argument(help="One recipe (.yaml), or files and folders of documents."),
    out: Path = typer.Option(..., metavar="FOLDER", help="The folder to write."),
    against: list[Path] = typer.Option([], metavar="PATH", help="Test sets to look for; may be repeated."),
    workers: int | None = typer.Option(
        None,
        min=1,
        metavar="N",
        help="Processes, or tasks at a time on a cluster; default one for each CPU, or no limit.",
    ),
    overrides: list[str] = OVERRIDES,
    engine: Engine = typer.Option(
        Engine.LOCAL, metavar="NAME", help="local, or one of datatrove's executors: datatrove, slurm, ray."
    ),
    engine_options: Path | None = typer.Option(
        None, metavar="FILE", help="YAML or JSON: arguments of that executor, such as partition and time."
    ),
) -> None:
    """Turn documents into token shards: normalise, filter, remove duplicates and test sets, tokenise.

    Every document's fate is recorded. Interrupted or killed, the same command goes on.
    """
    from glm130b.cli.building import BuildProgress
    from glm130b.corpus import Stopped, build, stopping
    from glm130b.files import partial_path

    recipe, left_out = _recipe(inputs, against, overrides)
    was_there = out.exists()
    options = _engine_options(engine_options)
    try:
        with stopping(), BuildProgress() as progress:
            ledger = build(
                recipe,
                out,
                left_out=left_out,
                workers=workers,
                engine=engine.value,
                engine_options=options,
                reporter=progress,
            )
    except (KeyboardInterrupt, Stopped) as stop:
        typer.echo(f"Stopped. What was finished is kept in {partial_path(out)}. Go on with:", err=True)
        typer.echo(f"  glm {shlex.join(sys.argv[1:])}", err=True)
        raise typer.Exit(143 if isinstance(stop, Stopped) else 130) from None
    total, first = ledger["total"], ledger["total"]["stages"][0]["in"]
    documents = total["train"]["documents"] + total["heldout"]["documents"]
    wrote = f"{out} was complete already" if was_there else f"Wrote {out}"
    typer.echo(f"{wrote}: {documents:,} of {first['documents']:,} documents, {_tokens(total)}.")
    if not total["train"]["documents"]:
        typer.echo("There is nothing to train on: no document was kept outside the held-out ones.")
    typer.echo(f"What was dropped and why: {out / 'ledger.html'}, or glm data show {shlex.quote(str(out))}")


@app.command(short_help="Print the ledger of a corpus.")
def show(folder: Path = typer.Argument(metavar="FOLDER", help="A folder that glm data build wrote.")) -> None:
    """Print the ledger of a corpus: documents, tokens and why documents were dropped."""
    from glm130b.cli.building import print_ledger
    from glm130b.corpus import read_ledger

    print_ledger(read_ledger(folder))


@app.command(short_help="Compare a corpus with its checksums.")
def verify(folder: Path = typer.Argument(metavar="FOLDER", help="A folder that glm data build wrote.")) -> None:
    """Compare the size and checksum of every file of a corpus with its ledger."""
    from glm130b.corpus import num_files, read_ledger, verify
    from glm130b.errors import DataError

    faults = verify(folder)
    for fault in faults:
        typer.echo(fault)
    if faults:
        raise DataError(
            f"{len(faults)} of the files of {folder} are not as they were written.", "Copy or build it again."
        )
    typer.echo(f"All {num_files(read_ledger(folder))} files are as they were written.")


def _tokens(total: dict[str, Any]) -> str:
    return f"{total['train']['tokens']:,} tokens to train on and {total['heldout']['tokens']:,} held out"


def _recipe(inputs: list[Path], against: list[Path], overrides: list[str]) -> tuple[BuildConfig, list[Path]]:
    """What to build, of a recipe or of files, and what lies beside these and is not read."""
    import json

    from glm130b.config import BuildConfig, load_tree
    from glm130b.corpus import sources_of
    from glm130b.errors import ConfigError

    own = [] if not against else [f"contamination.against={json.dumps([str(path) for path in against])}"]
    recipes = [path for path in inputs if path.suffix in (".yaml", ".yml")]
    if not recipes:
        found, left_out = sources_of(inputs)
        if left_out:
            more = f" and {len(left_out) - _MAX_NAMES} more" if len(left_out) > _MAX_NAMES else ""
            names = ", ".join(map(str, left_out[:_MAX_NAMES]))
            typer.echo(f"Not read, being of another kind or built already: {names}{more}", err=True)
        sources = {name: {"path": [str(file) for file in files]} for name, files in found.items()}
        own.insert(0, f"sources={json.dumps(sources, ensure_ascii=False)}")
        return load_tree(BuildConfig, None, [*own, *overrides]).root, left_out
    if len(inputs) > 1:
        raise ConfigError(
            f"{recipes[0]} is a recipe and has to be the only input.", "Name the other inputs in it, under sources."
        )
    return load_tree(BuildConfig, recipes[0], [*own, *overrides]).root, []


def _engine_options(path: Path | None) -> dict[str, Any]:
    import yaml

    from glm130b.errors import ConfigError

    if path is None:
        return {}
    try:
        options = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} cannot be read as YAML or JSON: {error}.", "Mend it.") from None
    if not isinstance(options, dict):
        raise ConfigError(f"{path} does not hold a mapping of options.", "For example: partition: cpu.")
    return options
