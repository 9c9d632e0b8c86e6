"""``glm eval``: how good a model is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

import typer

from glm130b.cli.options import BITS, DEVICE
from glm130b.errors import ModelError

if TYPE_CHECKING:
    from glm130b.model import Bits

app = typer.Typer(help="Measure a model.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    pass


@app.command()
def heldout(
    run: Path = typer.Argument(
        Path("runs/demo"), metavar="RUN", help="Its configuration and held-out documents are used."
    ),
    model: Path = typer.Option(
        None, metavar="FOLDER", help="Another model to measure on them; default the newest checkpoint."
    ),
    bits: int = BITS,
    sequences: int = typer.Option(
        None, min=1, metavar="N", help="Sequences of each source and objective; default as configured."
    ),
    device: str = DEVICE,
) -> None:
    """Print the loss on documents kept out of training.

    By source and objective, in nats a token.
    """
    from glm130b.config import load_config
    from glm130b.corpus import open_prepared
    from glm130b.interop import load
    from glm130b.training import heldout_loss, losses_of

    if run.exists() and not (run / "config.yaml").is_file():
        raise ModelError(f"{run} is no run: it has no config.yaml.", "Give a run, and any other model with --model.")
    network, tokenizer = load(model or run, device=device, bits=cast("Bits | None", bits))
    config = load_config(run / "config.yaml").run
    corpus = open_prepared(run / "data", list(config.data.active_sources))
    if any(entry["tokenizer"] not in (None, tokenizer.fingerprint) for entry in corpus.entries.values()):
        raise ModelError(f"{model} has another tokenizer than {run}.", "Compare models of one tokenizer.")
    measured = losses_of(network, config.train.micro_batch_size)
    losses = heldout_loss(measured, config, corpus.heldout, tokenizer.special, sequences=sequences)
    if not losses:
        typer.echo("Nothing is held out: data.heldout is 0 or the corpus is too small.")
    for name, loss in losses.items():
        typer.echo(f"{name:<24}{loss:.4f}")
