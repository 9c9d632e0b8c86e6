"""``glm samples``: what the model is really trained on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from glm130b.cli.options import OVERRIDES

if TYPE_CHECKING:
    from glm130b.config import MergedConfig
    from glm130b.samples import SampleStream
    from glm130b.tokenization import Tokenizer

app = typer.Typer(help="Look at training samples.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    pass


@app.command()
def show(
    config: str = typer.Argument(
        None, metavar="CONFIG", help="A preset or a YAML file; default that of --run, else tiny."
    ),
    index: int = typer.Option(
        0, "--at", "--index", "-i", min=0, max=2**62, metavar="N", help="Number of the first sequence."
    ),
    count: int = typer.Option(1, "--count", "-n", min=1, max=10_000, metavar="N", help="How many sequences."),
    run: Path = typer.Option(
        None, metavar="FOLDER", help="Use the tokens of this run's folder rather than tokenise the sources."
    ),
    overrides: list[str] = OVERRIDES,
) -> None:
    """Print training sequences as the model sees them.

    Where they come from, what is context and what is to be predicted.
    """
    with _opened(config, run, overrides) as (merged, tokenizer, stream):
        from glm130b.samples import describe

        for number in range(index, index + count):
            origin = stream.origin(number)
            kind, places = ("examples", "examples") if origin.objective == "instruction" else ("piece", "pieces")
            parts = ", ".join(map(str, origin.parts))
            skipped = any(first <= number < end for first, end in merged.run.data.skip)
            typer.echo(
                f"sequence {number}: {origin.objective}, {origin.source}, {kind} {parts} of "
                f"{stream.pieces[origin.source]} {places}, epoch {origin.epoch}"
                + (" (skipped: data.skip)" if skipped else "")
            )
            typer.echo(describe(stream[number], tokenizer))


@app.command()
def mixture(
    config: str = typer.Argument(
        None, metavar="CONFIG", help="A preset or a YAML file; default that of --run, else tiny."
    ),
    start: int = typer.Option(0, "--at", min=0, max=2**62, metavar="N", help="Number of the first sequence."),
    count: int = typer.Option(10_000, "--count", "-n", min=1, max=1_000_000, metavar="N", help="How many sequences."),
    run: Path = typer.Option(
        None, metavar="FOLDER", help="Use the tokens of this run's folder rather than tokenise the sources."
    ),
    overrides: list[str] = OVERRIDES,
) -> None:
    """Count what a stretch of the run is made of.

    By source and objective: the share asked for at its middle, the share there is, and the epochs reached.
    """
    from collections import Counter

    with _opened(config, run, overrides) as (_, _, stream):
        found: Counter[tuple[str, str]] = Counter()
        epochs: dict[str, int] = {}
        for number in range(start, start + count):
            origin = stream.origin(number)
            found[origin.source, origin.objective] += 1
            epochs[origin.source] = origin.epoch
        asked = stream.shares(start + count // 2)
        typer.echo(f"sequences {start} to {start + count - 1}")
        typer.echo(f"{'source':<24}{'asked':>10}{'is':>10}{'epoch':>8}  by objective")
        for name, share in asked.items():
            parts = {objective: n for (source, objective), n in found.items() if source == name}
            split = ", ".join(f"{objective} {n / count:.2%}" for objective, n in sorted(parts.items()))
            epoch = epochs.get(name, "-")
            typer.echo(f"{name:<24}{share:>10.2%}{sum(parts.values()) / count:>10.2%}  {epoch:>6}  {split}")


@contextmanager
def _opened(
    config: str | None, run: Path | None, overrides: list[str]
) -> Iterator[tuple[MergedConfig, Tokenizer, SampleStream]]:
    from tempfile import TemporaryDirectory

    from glm130b.cli.progress import tell_passed_over
    from glm130b.config import load_config
    from glm130b.corpus import open_prepared, prepare
    from glm130b.samples import open_training_data
    from glm130b.tokenization import Tokenizer

    merged = load_config(config or (run / "config.yaml" if run else "tiny"), overrides)
    data = merged.run.data
    tokenizer = Tokenizer.load(data.tokenizer)
    with TemporaryDirectory() as folder:
        if run:
            corpus = open_prepared(run / "data", list(data.active_sources))
        else:
            corpus = prepare(data, tokenizer, Path(folder) / "data")
        tell_passed_over(corpus.too_short(data), data.text_length)
        yield merged, tokenizer, open_training_data(merged.run, corpus, tokenizer).stream
