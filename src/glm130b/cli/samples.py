"""``glm samples``: what the model is really trained on."""

from __future__ import annotations

from pathlib import Path

import typer

from glm130b.cli.options import OVERRIDES

app = typer.Typer(help="Look at training samples.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    pass


@app.command()
def show(
    config: str = typer.Argument(
        None, metavar="CONFIG", help="A preset or a YAML file; default that of --run, else tiny."
    ),
    index: int = typer.Option(0, "--index", "-i", min=0, max=2**62, metavar="N", help="Number of the first sequence."),
    count: int = typer.Option(1, "--count", "-n", min=1, max=10_000, metavar="N", help="How many sequences."),
    run: Path = typer.Option(
        None, metavar="FOLDER", help="Use the tokens of this run's folder rather than tokenise the sources."
    ),
    overrides: list[str] = OVERRIDES,
) -> None:
    """Print training sequences as the model sees them.

    Where they come from, what is context and what is to be predicted.
    """
    from tempfile import TemporaryDirectory

    from glm130b.config import load_config
    from glm130b.corpus import open_prepared, prepare
    from glm130b.samples import SampleStream, describe
    from glm130b.tokenization import Tokenizer

    merged = load_config(config or (run / "config.yaml" if run else "tiny"), overrides)
    tokenizer = Tokenizer.load(merged.run.data.tokenizer)
    with TemporaryDirectory() as folder:
        corpus = open_prepared(run / "data") if run else prepare(merged.run.data, tokenizer, Path(folder) / "data")
        stream = SampleStream(
            merged.run.data, merged.run.objective, corpus.train, tokenizer.special, seed=merged.run.seed
        )
        for number in range(index, index + count):
            origin = stream.origin(number)
            typer.echo(
                f"sequence {number}: {origin.objective}, {origin.source}, piece {origin.piece} of "
                f"{stream.pieces[origin.source]}, epoch {origin.epoch}"
            )
            typer.echo(describe(stream[number], tokenizer))
