"""A run from its beginning, or a checkpoint, to its end: every rank goes through it side by side.

Rank 0 alone writes what is written once: configuration, environment, metrics, ledger.
"""

from __future__ import annotations

import json
import math
import os
import platform
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import torch

import glm130b
from glm130b.config import MergedConfig
from glm130b.corpus import PreparedCorpus
from glm130b.files import write_whole
from glm130b.model import GLM
from glm130b.parallel import Link, Mesh, World, check_links
from glm130b.tokenization import Tokenizer
from glm130b.training.checkpoint import forget_after, load_checkpoint, remove_leftovers
from glm130b.training.checkpoint_writer import CheckpointWriter
from glm130b.training.ledger import Ledger
from glm130b.training.metrics import MetricsLog, Record
from glm130b.training.preflight import preflight
from glm130b.training.progress import Progress
from glm130b.training.retention import step_of
from glm130b.training.runtime import keep_freed_memory, stop_on_signals
from glm130b.training.schedule import Schedule
from glm130b.training.trainer import Beat, Trainer, silent


class Reporter(Protocol):
    """Whoever watches a run; every call is made between steps."""

    def begin(self, model: GLM, schedule: Schedule, progress: Progress) -> None:
        """The run starts or goes on after ``progress``."""

    def note(self, text: str) -> None:
        """Something worth knowing before the run starts."""

    def step(self, record: Record) -> None:
        """A step is done; ``record`` is what went into ``metrics.jsonl``."""


class Silent:
    """A reporter that says nothing."""

    def begin(self, model: GLM, schedule: Schedule, progress: Progress) -> None:
        """Say nothing."""

    def note(self, text: str) -> None:
        """Say nothing."""

    def step(self, record: Record) -> None:
        """Say nothing."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        progress: how far it has come.
        checkpoint: the newest on disk.
        stopped_by: the signal that ended it early, or None.
    """

    progress: Progress
    checkpoint: Path | None
    stopped_by: signal.Signals | None


def train(
    merged: MergedConfig,
    run: Path,
    tokenizer: Tokenizer,
    corpus: PreparedCorpus,
    *,
    device: torch.device,
    resume: Path | None = None,
    reporter: Reporter | None = None,
    beat: Beat = silent,
    events: Sequence[str] = (),
) -> Outcome:
    """Train until the end, ``train.max_steps``, or SIGINT or SIGTERM; in each case save before returning.

    With several ranks each calls this, in one process group, with the same arguments.

    Args:
        run: the run's folder; takes ``config.yaml``, ``environment.json``, ``metrics.jsonl``, ``ledger.jsonl`` and
            checkpoints.
        resume: the checkpoint to go on from; None starts anew.
        reporter: of rank 0.
        beat: told of every phase; see ``Trainer``.
        events: of rank 0; sentences on how it came to this, for the ledger.

    Raises:
        ConfigError, ModelError, ResourceError: as of what it calls; what was saved stays.
    """
    config = merged.run
    world = World.current()
    preflight(config, run, device, world)
    tokenizer.check_fits(config.model.vocab_size)
    if device.type == "cpu":
        keep_freed_memory()
    mesh = Mesh.build(config.parallel, device, config.train.precision)
    with closing(mesh):
        return _train(merged, run, tokenizer, corpus, mesh, resume, reporter or Silent(), beat, events)


def _train(
    merged: MergedConfig,
    run: Path,
    tokenizer: Tokenizer,
    corpus: PreparedCorpus,
    mesh: Mesh,
    resume: Path | None,
    reporter: Reporter,
    beat: Beat,
    events: Sequence[str],
) -> Outcome:
    """See ``train``."""
    config, world = merged.run, mesh.world
    links = check_links(mesh)
    trainer = Trainer(config, tokenizer, corpus, mesh.device, mesh=mesh, beat=beat)
    extra: dict[str, object] = {}
    if resume is not None:
        beat("checkpoint", 0)
        trainer.progress, extra = load_checkpoint(
            resume, trainer.placed.held, trainer.optimizer, config, trainer.data, tokenizer, world
        )
        trainer.restore_state(extra)
    writer = CheckpointWriter(run, config, tokenizer, trainer.data, world)
    with (
        closing(trainer),
        closing(writer),
        _book(merged, run, trainer, resume, events, links) as book,
        stop_on_signals() as stop,
    ):
        if world.first:
            for link in links:
                if link.is_slow:
                    reporter.note(f"Slow link: {link}")
            reporter.begin(trainer.model, trainer.schedule, trainer.progress)
        last, stopped_by = config.train.max_steps or math.inf, None
        while trainer.progress.trained < config.total_samples and trainer.progress.step < last:
            before = trainer.progress
            record = trainer.step(asked_to_stop=stop.signal)
            step = trainer.progress.step
            done = trainer.progress.trained >= config.total_samples or step >= last
            if config.eval.every_steps and (step % config.eval.every_steps == 0 or done):
                record["heldout_loss"] = trainer.heldout()
            book.write(before, trainer.progress, record)
            if world.first:
                reporter.step(record)
            # Several ranks stop by what they agreed on during the step; one alone needs no agreement.
            stopped_by = trainer.stopped_by or (stop.signal if world.size == 1 else None)
            if step % config.checkpoint.every_steps == 0 or done or stopped_by:
                beat("checkpoint", step)
                book.begin_checkpoint()
                writer.save(
                    trainer.placed.held,
                    trainer.optimizer,
                    trainer.progress,
                    trainer.state,
                    add_files=book.files_of_checkpoint(),
                )
            book.note_checkpoint(writer.check())
            if stopped_by:
                break
        beat("checkpoint", trainer.progress.step)
        saved = writer.wait() or resume
        if saved != resume:
            book.note_checkpoint(saved)
        book.end(stopped_by)
    return Outcome(trainer.progress, saved, stopped_by)


class _Book:
    """What rank 0 writes down during a run; on other ranks nothing."""

    def __init__(self, log: MetricsLog | None = None, ledger: Ledger | None = None, floor: float = 0.0) -> None:
        self._log, self._ledger, self._floor = log, ledger, floor
        self._newest: Path | None = None

    def write(self, before: Progress, after: Progress, record: Record) -> None:
        """Note a step."""
        if self._log is not None and self._ledger is not None:
            self._log.write(record)
            self._ledger.step(before, after, record)
            if not record["applied"] and record["loss_scale"] <= self._floor:
                self._ledger.event("FP16 gradients overflowed at the lowest loss scale.", loss_scale=self._floor)

    def begin_checkpoint(self) -> None:
        """Make what was noted survive a power cut."""
        if self._log is not None and self._ledger is not None:
            self._log.sync()
            self._ledger.sync()

    def files_of_checkpoint(self) -> Callable[[Path], None] | None:
        """What stores the ledger, as it is now, in a checkpoint."""
        return None if self._ledger is None else partial(self._ledger.copy_to, head=self._ledger.head)

    def note_checkpoint(self, newest: Path | None) -> None:
        """Note the newest checkpoint once it is whole."""
        if self._ledger is not None and newest is not None and newest != self._newest:
            self._ledger.checkpoint(newest, step_of(newest))
            self._newest = newest

    def end(self, stopped_by: signal.Signals | None) -> None:
        """Note how the session ends."""
        if self._ledger is not None:
            self._ledger.end("The run is done." if stopped_by is None else f"Stopped by {stopped_by.name}, saved.")


@contextmanager
def _book(
    merged: MergedConfig,
    run: Path,
    trainer: Trainer,
    resume: Path | None,
    events: Sequence[str],
    links: Sequence[Link],
) -> Iterator[_Book]:
    world = trainer.mesh.world
    hosts = world.gather(socket.gethostname())
    if not world.first:
        world.barrier()
        yield _Book()
        return
    config, progress = merged.run, trainer.progress
    with Ledger(run, resumed=resume) as ledger:  # first of all: a ledger that was tampered with stops the run here
        remove_leftovers(run)
        forget_after(run, progress.step)
        world.barrier()
        write_whole(run / "config.yaml", merged.describe() + "\n")
        environment = {**_environment(trainer.device, world), "links": [str(link) for link in links]}
        write_whole(run / "environment.json", json.dumps(environment, indent=2) + "\n")
        ledger.session(config, progress, hosts)
        for event in (*events, *(f"Slow link: {link}" for link in links if link.is_slow)):
            ledger.event(event)
        with MetricsLog(run, progress.step, tensorboard=config.tensorboard) as log:
            yield _Book(log, ledger, float(config.train.loss_scale.floor))


def _environment(device: torch.device, world: World) -> dict[str, object]:
    return {
        "glm130b": glm130b.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine(),
        "ranks": world.size,
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
    }
