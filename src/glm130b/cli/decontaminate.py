"""``glm data decontaminate``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

import typer


class Action(StrEnum):
    """What to do about a document that holds enough of a test item."""

    LOG = "log"
    DROP_DOCUMENT = "drop-document"
    DROP_SPAN = "drop-span"


def decontaminate(
    inputs: list[Path] = typer.Argument(help="Files and folders of documents."),
    against: list[Path] = typer.Option(..., metavar="PATH", help="Test sets to look for; may be repeated."),
    exclude: list[str] = typer.Option([], metavar="NAME", help="Files or folders in them to leave out."),
    hits: Path = typer.Option(..., metavar="FILE", help="Where to write a line (JSON) for each hit."),
    action: Action = typer.Option(Action.LOG, metavar="WHAT", help="log, drop-document or drop-span."),
    write: Path = typer.Option(
        None, metavar="FILE", help="Write what is left, as .jsonl or .jsonl.gz: id, text, lang, source and license."
    ),
    min_overlap: float = typer.Option(0.1, min=0, max=1, help="Share of a test item that counts as having it."),
    n: int = typer.Option(13, min=1, max=100, help="Words, or Chinese characters, in a row that make a hit."),
) -> None:
    """Find passages of test sets in documents; with --write, leave them out.

    `glm data build --against` does the same while it builds a corpus.
    """
    from glm130b.cli.progress import copying
    from glm130b.config import ContaminationConfig
    from glm130b.corpus import decontaminate, source_files, sources_of
    from glm130b.errors import ConfigError

    if action != Action.LOG and write is None:
        raise ConfigError(f"--action {action.value} needs a file to write what is left to.", "Name it with --write.")
    sources, left_out = sources_of(inputs)
    if left_out:
        typer.echo(f"Not read, being of another kind: {', '.join(map(str, left_out))}", err=True)
    settings = ContaminationConfig(
        against=tuple(map(str, against)), exclude=tuple(exclude), n=n, min_overlap=min_overlap, action=action.value
    )
    files = [file for paths in sources.values() for path in paths for file in source_files(path)]
    with copying() as (begin, advance):
        begin(sum(file.stat().st_size for file in files), 0)
        found = decontaminate(
            sources, settings, hits, clean_path=write, advance=lambda documents, num_bytes: advance(num_bytes)
        )
    tasks = found["index"]["tasks"]
    for task, counts in tasks.items():
        reasons = {"too short to be found": counts["too_short"], "of common wording only": counts["common"]}
        note = "".join(f", {count} of them {reason}" for reason, count in reasons.items() if count)
        typer.echo(f"{task:<28}{counts['items']:>8} items{note}; in {found['tasks'].get(task, 0)} documents")
    for reason, count in found["unread"].items():
        typer.echo(f"{count} documents could not be read: {reason}")
    typer.echo(
        f"{found['documents']} documents, hits: {found['hits']} ({hits}), {found['dropped']} dropped, "
        f"{found['cut']} cut."
    )
