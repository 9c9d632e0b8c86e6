"""``glm train``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from glm130b.cli.options import OVERRIDES

if TYPE_CHECKING:
    from glm130b.training import Outcome


def train(
    config: str = typer.Argument(metavar="CONFIG", help="A preset (see `glm config list`) or a YAML file."),
    out: Path = typer.Option(..., metavar="FOLDER", help="The run's folder: configuration, metrics, checkpoints."),
    overrides: list[str] = OVERRIDES,
    resume: str = typer.Option(
        "auto",
        metavar="WHENCE",
        help="auto: from the newest checkpoint in --out; none; or a checkpoint folder, which deletes later ones.",
    ),
    device: str = typer.Option(None, metavar="NAME", help="cpu, cuda, cuda:1, …; default as the configuration says."),
) -> None:
    """Pre-train a model by blank infilling.

    Stopped or killed, the same command resumes from the newest checkpoint.
    """
    from glm130b.cli.progress import TrainingProgress, preparing, tell_passed_over
    from glm130b.config import load_config
    from glm130b.corpus import prepare
    from glm130b.model import checked_device
    from glm130b.tokenization import Tokenizer
    from glm130b.training import choose_checkpoint, preflight, run_lock, train

    merged = load_config(config, overrides)
    place = checked_device(device or merged.run.train.device)
    preflight(merged.run, out, place)
    with run_lock(out):
        checkpoint = choose_checkpoint(out, resume)
        tokenizer = Tokenizer.load(merged.run.data.tokenizer)
        tokenizer.check_fits(merged.run.model.vocab_size)
        with preparing() as note:
            corpus = prepare(merged.run.data, tokenizer, out / "data", progress=note)
        tell_passed_over(corpus.too_short(merged.run.data), merged.run.data.text_length)
        with TrainingProgress(merged.run) as progress:
            outcome = train(merged, out, tokenizer, corpus, device=place, resume=checkpoint, reporter=progress)
    _report(outcome, out, config, overrides, device)


def _report(outcome: Outcome, out: Path, config: str, overrides: list[str], device: str | None) -> None:
    if outcome.stopped_by is None:
        typer.echo(f"Done after step {outcome.progress.step}: {outcome.checkpoint}")
        typer.echo(f"Try: glm fill {shlex.quote('The capital of France is [MASK].')} --model {shlex.quote(str(out))}")
        return
    typer.echo(f"Stopped after step {outcome.progress.step}, saved {outcome.checkpoint}. Resume with:")
    sets = "".join(f" --set {shlex.quote(text)}" for text in overrides)
    place = f" --device {shlex.quote(device)}" if device else ""
    typer.echo(f"  glm train {shlex.quote(config)} --out {shlex.quote(str(out))}{sets}{place}")
    raise typer.Exit(128 + outcome.stopped_by)
