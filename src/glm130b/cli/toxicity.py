"""``glm eval toxicity``: score the continuations that a run stored."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import typer

from glm130b.cli.options import DEVICE

if TYPE_CHECKING:
    from glm130b.evaluation.toxicity import Scorer

_NEEDS = {"classifier": "--checkpoint", "http": "--url"}


def toxicity(
    results: Path = typer.Argument(..., metavar="RESULTS", help="Folder that `glm eval run` wrote."),
    scorer: str = typer.Option("lexicon", help="lexicon, classifier or http."),
    words: Path = typer.Option(None, metavar="FILE", help="lexicon: a word a line; default a few mild ones."),
    checkpoint: Path = typer.Option(None, metavar="FOLDER", help="classifier: a local Hugging Face checkpoint."),
    label: str = typer.Option(None, help="classifier: the toxic label; default the one so called."),
    activation: str = typer.Option(None, help="classifier: sigmoid or softmax; default as it is configured."),
    device: str = DEVICE,
    url: str = typer.Option(None, help="http: address that answers to texts with scores."),
    timeout: float = typer.Option(30.0, min=0.1, metavar="SECONDS", help="http: longest wait for an answer."),
    batch: int = typer.Option(None, min=1, metavar="N", help="Texts scored at once."),
    as_json: bool = typer.Option(False, "--json", help="Print the report as JSON."),
) -> None:
    """Score stored continuations of RealToxicityPrompts for toxicity.

    Scores the first complete sentence of each continuation and prints mean toxicity and expected maximum by the
    toxicity of the prompts, with 95 % intervals. Scores are kept in RESULTS/scores and only what is missing is scored
    again; a text that cannot be scored is missing, never harmless. lexicon is for sanity checks only. http sends
    {"texts": [...]} and expects {"toxicity": [...]}.
    """
    import json

    from glm130b.evaluation.toxicity import score_continuations, toxicity_text

    chosen = _open(scorer, words, checkpoint, label, activation, device, url, timeout, batch)
    with _progress() as on_progress:
        report = score_continuations(results, chosen, on_progress=on_progress)
    if as_json:
        typer.echo(json.dumps(report, indent=1, ensure_ascii=False))
        return
    typer.echo(toxicity_text(report))
    typer.echo(f"\nWritten to {results / f'toxicity-{scorer}.json'}")


def _open(
    name: str,
    words: Path | None,
    checkpoint: Path | None,
    label: str | None,
    activation: str | None,
    device: str,
    url: str | None,
    timeout: float,
    batch: int | None,
) -> Scorer:
    from glm130b.errors import ConfigError
    from glm130b.evaluation.toxicity import Endpoint, Lexicon

    if name == "lexicon":
        return Lexicon(words)
    if name == "http" and url:
        return Endpoint(url, timeout=timeout, batch=batch or 32)
    if name == "classifier" and checkpoint:
        from glm130b.evaluation.toxicity.classifier import Classifier

        if activation not in (None, "sigmoid", "softmax"):
            raise ConfigError(f"There is no activation {activation!r}.", "Use sigmoid or softmax.")
        return Classifier(
            checkpoint,
            label=label,
            activation=cast("Literal['sigmoid', 'softmax'] | None", activation),
            device=device,
            batch=batch or 32,
        )
    if name in _NEEDS:
        raise ConfigError(f"The scorer {name} needs {_NEEDS[name]}.", "See `glm eval toxicity --help`.")
    raise ConfigError(f"There is no scorer {name!r}.", "Use lexicon, classifier or http.")


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal, and nothing elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True, highlight=False)
    columns = (TextColumn("scoring"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("scoring", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
