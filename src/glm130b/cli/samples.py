"""``glm samples``: what the model is really trained on."""

from __future__ import annotations

from pathlib import Path

import typer

from glm130b.cli.config import OVERRIDES

app = typer.Typer(help="Look at training samples.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    pass


@app.command()
def show(
    config: str = typer.Argument("tiny", help="A preset or a YAML file."),
    index: int = typer.Option(0, "--index", "-i", min=0, help="Number of the first sequence."),
    count: int = typer.Option(1, "--count", "-n", min=1, help="How many sequences."),
    run: Path = typer.Option(None, help="Use the tokens of this run's folder rather than tokenise the sources."),
    overrides: list[str] = OVERRIDES,
) -> None:
    """Print training sequences: where they come from, what is context, what is to be predicted."""
    from tempfile import TemporaryDirectory

    from glm130b.config import load_config
    from glm130b.corpus import open_prepared, prepare
    from glm130b.samples import SampleStream, describe
    from glm130b.tokenization import Tokenizer

    merged = load_config(config, overrides)
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
