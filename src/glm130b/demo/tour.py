"""The demo from one end to the other."""

from __future__ import annotations

import shlex
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import torch
from rich.console import Console

from glm130b.config import MergedConfig
from glm130b.corpus import Document, PreparedCorpus, prepare
from glm130b.demo import show
from glm130b.demo.examples import BLANKS, OPENING, Filled, continue_text, fill_blanks
from glm130b.demo.live import LiveTraining, clock
from glm130b.demo.measures import Precision, frequency_loss, loss_rows, precisions
from glm130b.demo.pace import PRESET, pick_device, plan, planned, probe
from glm130b.demo.report import Results, write_report
from glm130b.errors import DataError
from glm130b.interop import load
from glm130b.planning import parameter_count
from glm130b.tokenization import Tokenizer
from glm130b.training import Outcome, run_lock, train

_LEFT_BEFORE_TRAINING = {"data", ".lock", ".partial-data"}
"""What an earlier demo that was stopped before its first step leaves; it is used again."""


def run(out: Path, minutes: float) -> None:
    """See ``glm130b.demo.run_demo``."""
    _check_free(out)
    console = Console(highlight=False)
    config = planned([])
    show.title(console, parameter_count(config.run.model), minutes)
    with run_lock(out):
        tokenizer = Tokenizer.load(config.run.data.tokenizer)
        corpus = _text(console, config, tokenizer, out)
        _train_and_tell(console, tokenizer, corpus, out, minutes * 60)


def _check_free(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(path.name not in _LEFT_BEFORE_TRAINING for path in out.iterdir())):
        raise DataError(
            f"{out} is there already and not empty.",
            "Give the demo a new folder (--out), or remove that one.",
        )


def _text(console: Console, config: MergedConfig, tokenizer: Tokenizer, out: Path) -> PreparedCorpus:
    show.heading(console, 1, "Text", "what there is to learn from; it came with the package")
    documents = 0
    with console.status("Tokenising …") as status:

        def note(source: str, document: Document) -> None:
            nonlocal documents
            documents += 1
            if documents % 25 == 0:
                status.update(f"Tokenising {source}: {documents} documents")

        corpus = prepare(config.run.data, tokenizer, out / "data", progress=note)
    show.ledger(console, corpus, tokenizer)
    return corpus


def _train_and_tell(console: Console, tokenizer: Tokenizer, corpus: PreparedCorpus, out: Path, seconds: float) -> None:
    device = pick_device(planned([]).run)
    show.heading(console, 2, "Training", "hide stretches of text, let the model write them")
    with console.status("Measuring how fast this machine is …"):
        found = probe(planned([]).run, tokenizer, corpus, min(5.0, 0.05 * seconds))
    overrides = plan(found, seconds)
    merged = planned(overrides)
    show.recipe(console, merged.run, found, device)
    started = time.monotonic()
    with LiveTraining(console, found.before.get("all"), seconds) as live:
        outcome = train(merged, out, tokenizer, corpus, device=torch.device(device), reporter=live)
    training_seconds = time.monotonic() - started
    if outcome.stopped_by is not None and not live.out_of_time:
        _stopped(console, out, outcome)
    console.print()
    if live.out_of_time:
        overrides.append(f"train.max_steps={outcome.progress.step}")
        show.say(console, "The machine became slower than it was when measured: stopped early, schedule unfinished.")
    try:
        measured = precisions(out, merged.run, corpus, device)
        with console.status("Measuring on the held-out text …"):
            trained = next(measured)
            frequencies = frequency_loss(corpus, tokenizer.vocab_size)
        show.losses(console, loss_rows(found.before, trained.losses, frequencies), found.before, trained.losses)
        filled, continuation = _write(console, out, device)
        copies = [trained, *_quantise(console, trained, measured, merged)]
    except KeyboardInterrupt:
        console.print(f"\nStopped. The trained model is in {out}; the rest of the tour is not.")
        raise SystemExit(130) from None
    results = Results(
        out=out,
        config=merged.run,
        corpus=corpus,
        before=found.before,
        frequencies=frequencies,
        filled=filled,
        continuation=continuation,
        precisions=copies,
        training_seconds=training_seconds,
        reproduce=_reproduce(overrides),
        next_steps=_next_steps(out, merged),
    )
    _report(console, results)


def _stopped(console: Console, out: Path, outcome: Outcome) -> NoReturn:
    assert outcome.stopped_by is not None
    console.print(f"Stopped after step {outcome.progress.step}, saved {outcome.checkpoint}. Go on with:")
    show.command(console, f"{program()} train {_quote(out / 'config.yaml')} --out {_quote(out)}")
    raise SystemExit(128 + outcome.stopped_by)


def _write(console: Console, out: Path, device: str) -> tuple[dict[str, Filled], str]:
    show.heading(console, 3, "Writing", "the trained model fills blanks and goes on with a text")
    model, tokenizer = load(out, device=device)
    filled = {}
    for language, source in BLANKS.items():
        filled[language] = fill_blanks(model, tokenizer, source)
        show.filled(console, language, filled[language])
    continuation = continue_text(model, tokenizer)
    show.continuation(console, continuation, model.config.vocab_size)
    return filled, continuation


def _quantise(
    console: Console, trained: Precision, measured: Iterator[Precision], merged: MergedConfig
) -> list[Precision]:
    show.heading(console, 4, "Quantisation", "the same model with 8 and 4 bits a weight")
    with console.status("Quantising and measuring …"):
        copies = list(measured)
    show.precisions(console, [trained, *copies], merged.run)
    return copies


def _report(console: Console, results: Results) -> None:
    show.heading(console, 5, "Report", "curves, losses and numbers on one page")
    path = write_report(results)
    minutes = clock(results.training_seconds)
    show.command(console, str(path.resolve()))
    show.say(console, f"Open it in a browser; it needs no network. Trained for {minutes}; the run is in {results.out}.")
    console.print()
    console.print("[bold]Three things to try next[/]")
    for text in results.next_steps:
        show.command(console, text)


def _reproduce(overrides: list[str]) -> list[str]:
    sets = "".join(f" --set {shlex.quote(text)}" for text in ["name=demo", *overrides])
    return [
        f"glm train {PRESET} --out runs/again{sets}",
        "glm eval heldout runs/again",
        "glm quantize runs/again runs/again-int4 --bits 4",
    ]


def _next_steps(out: Path, merged: MergedConfig) -> list[str]:
    longer = 5 * merged.run.total_samples
    longer_out = out.with_name(f"{out.resolve().name}-longer")
    return [
        f"{program()} fill {shlex.quote(BLANKS['Chinese'])} --model {_quote(out)} --bits 4",
        f"{program()} generate {shlex.quote(OPENING)} --model {_quote(out)} --temperature 0.8 --top-p 0.9 --seed 1",
        f"{program()} train {_quote(out / 'config.yaml')} --out {_quote(longer_out)} --set train.total={longer}",
    ]


def program() -> str:
    """How to start the command line from this shell."""
    if shutil.which("glm"):
        return "glm"
    script = Path(sys.executable).with_name("glm")
    if not script.exists():
        return f"{shlex.quote(sys.executable)} -m glm130b"
    here = Path.cwd()
    return _quote(script.relative_to(here) if script.is_relative_to(here) else script)


def _quote(path: Path) -> str:
    return shlex.quote(str(path))
