"""``glm eval``: how good a model is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

import typer

from glm130b.cli import audit, eval_compare, eval_harness, eval_list, eval_run, eval_show, toxicity
from glm130b.cli.options import BITS, DEVICE, GROUP, Group, group_size

if TYPE_CHECKING:
    from glm130b.model import Bits

app = typer.Typer(help="Measure a model.", no_args_is_help=True)
app.command(short_help="Measure a model on suites or tasks.")(eval_run.run)
app.command("list", short_help="List suites and tasks.")(eval_list.list_tasks)
app.command(short_help="Print an item as a model reads it.")(eval_list.prompts)
app.command(short_help="Show scores, and what was answered.")(eval_show.show)
app.command(short_help="Say whether two results differ.")(eval_compare.compare)
app.command(short_help="Recompute what published tables claim.")(audit.audit)
app.command(short_help="Score the continuations that a run stored.")(toxicity.toxicity)
app.command("export-harness", short_help="Write tasks for lm-evaluation-harness.")(eval_harness.export_harness)
app.command(short_help="Run lm-evaluation-harness on a model.")(eval_harness.harness)


@app.command()
def heldout(
    run: Path = typer.Argument(
        Path("runs/demo"), metavar="RUN", help="Its configuration and held-out documents are used."
    ),
    model: Path = typer.Option(
        None, metavar="FOLDER", help="Another model to measure on them; default the newest checkpoint."
    ),
    bits: int = BITS,
    group: Group | None = GROUP,
    sequences: int = typer.Option(
        None, min=1, metavar="N", help="Sequences of each source and objective; default as configured."
    ),
    device: str = DEVICE,
) -> None:
    """Print the loss on documents kept out of training.

    By source and objective, in nats a token.
    """
    from glm130b.cli.heldout import open_heldout
    from glm130b.interop import load, resolve

    chosen = model or run
    resolve(chosen)
    text = open_heldout(run)
    network, tokenizer = load(chosen, device=device, bits=cast("Bits | None", bits), group_size=group_size(group))
    text.check_tokenizer(tokenizer, chosen)
    losses = text.loss(network, tokenizer, sequences)
    if not losses:
        typer.echo("Nothing is held out: data.heldout is 0 or the corpus is too small.")
    for name, loss in losses.items():
        typer.echo(f"{name:<24}{loss:.4f}")
