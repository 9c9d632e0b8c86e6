"""The training loop on one device."""

from __future__ import annotations

import json
import math
import os
import platform
import signal
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

import glm130b
from glm130b.config import MergedConfig, RunConfig
from glm130b.corpus import PreparedCorpus
from glm130b.errors import ModelError
from glm130b.files import write_whole
from glm130b.model import GLM, build_model, mix
from glm130b.samples import Objective, open_training_data
from glm130b.samples import Sequence as PackedSequence
from glm130b.tokenization import Tokenizer
from glm130b.training.batch import micro_batches
from glm130b.training.checkpoint import (
    forget_after,
    load_checkpoint,
    remove_leftovers,
    save_checkpoint,
)
from glm130b.training.forward import hidden_at_targets
from glm130b.training.heldout import heldout_loss
from glm130b.training.loader import Loader
from glm130b.training.loss import linear_cross_entropy, scale_gradient
from glm130b.training.metrics import MetricsLog, Record
from glm130b.training.optimizer import build_optimizer, set_learning_rate
from glm130b.training.progress import Progress
from glm130b.training.runtime import keep_freed_memory, preflight, stop_on_signals
from glm130b.training.schedule import Schedule


class Reporter(Protocol):
    """Whoever watches a run; every call is made between steps."""

    def begin(self, model: GLM, schedule: Schedule, progress: Progress) -> None:
        """The run starts or goes on after ``progress``."""

    def step(self, record: Record) -> None:
        """A step is done; ``record`` is what went into ``metrics.jsonl``."""


class Silent:
    """A reporter that says nothing."""

    def begin(self, model: GLM, schedule: Schedule, progress: Progress) -> None:
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


class Trainer:
    """Model, optimizer and data of one run, and the step that moves them on."""

    def __init__(self, config: RunConfig, tokenizer: Tokenizer, corpus: PreparedCorpus, device: torch.device) -> None:
        self.config, self.tokenizer, self.corpus, self.device = config, tokenizer, corpus, device
        self.model = build_model(config.model, seed=config.seed, device=device)
        self.model.recompute_activations = config.train.recompute_activations
        self.optimizer = build_optimizer(self.model, config.train.optimizer)
        self.schedule = Schedule.of(config)
        self._data = open_training_data(config, corpus, tokenizer)
        self.stream = self._data.stream
        self.progress = Progress()
        self._loader: Loader | None = None
        shrink = config.train.embedding_gradient_shrink
        self.model.word_embeddings.register_forward_hook(
            lambda _module, _inputs, output: scale_gradient(output, shrink.alpha)
        )
        self._output_alpha = shrink.alpha if shrink.on_output else 1.0

    def step(self) -> Record:
        """Train on the next batch; return its record.

        Raises:
            ModelError: loss or gradient is not finite; parameters are as before the step.
        """
        started = time.perf_counter()
        config, before = self.config, self.progress
        size = self.schedule.batch_size(before.samples)
        rate = self.schedule.learning_rate(before.samples)
        numbers, sequences, waited = self._load(size)
        by_sequence: list[float] = []
        loss = 0.0
        self.optimizer.zero_grad(set_to_none=True)
        for batch in micro_batches(
            sequences, config.train.micro_batch_size, normalisation=config.train.loss, device=self.device
        ):
            part_numbers = numbers[len(by_sequence) : len(by_sequence) + len(batch.tokens)]
            seeds = [mix(config.seed, number) for number in part_numbers]
            part, losses = linear_cross_entropy(
                hidden_at_targets(self.model, batch, config.train, seeds),
                scale_gradient(self.model.word_embeddings.weight, self._output_alpha),
                batch.targets,
                batch.weights,
            )
            part.backward()  # type: ignore[no-untyped-call]
            loss += part.item()
            by_sequence += _mean_by_sequence(losses, batch.sequence, len(batch.tokens))
        embedding_grad = self.model.word_embeddings.weight.grad
        embedding_norm = 0.0 if embedding_grad is None else float(embedding_grad.norm())
        norm = float(torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.train.optimizer.clip))
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise ModelError(
                f"Step {before.step + 1} gave loss {loss} and gradient norm {norm}; it was not applied.",
                "Resume with a lower train.learning_rate.peak, or look at its data with `glm samples show`.",
            )
        set_learning_rate(self.optimizer, rate)
        self.optimizer.step()
        self.progress = Progress(before.step + 1, before.samples + size)
        return {
            **self._position(),
            "loss": loss,
            **self._by_objective(numbers, by_sequence),
            "grad_norm": norm,
            "embedding_grad_norm": embedding_norm,
            "learning_rate": rate,
            "batch_size": size,
            "loader_seconds": waited,
            **_speed(size * config.data.seq_length, time.perf_counter() - started),
        }

    def _position(self) -> Record:
        samples = self.progress.samples
        return {"step": self.progress.step, "samples": samples, "tokens": samples * self.config.data.seq_length}

    def _load(self, size: int) -> tuple[list[int], list[PackedSequence], float]:
        """Take the next sequences from a loader that stands where the run does."""
        if self._loader is None or self._loader.consumed != self.progress.samples:
            self.close()
            self._loader = Loader(self.stream, self.config.train.loader, self.progress.samples, self.config.data.skip)
        return self._loader.take(size)

    def close(self) -> None:
        """End the loader's processes."""
        if self._loader is not None:
            self._loader.close()
            self._loader = None

    def _by_objective(self, numbers: list[int], losses: list[float]) -> Record:
        """Mean loss of the sequences of each objective; None if the step had none."""
        found: dict[Objective, list[float]] = {"mask": [], "gmask": []}
        if self.config.data.active_instructions:
            found["instruction"] = []
        for number, loss in zip(numbers, losses, strict=True):
            found[self.stream.origin(number).objective].append(loss)
        return {f"loss_{name}": sum(values) / len(values) if values else None for name, values in found.items()}

    def heldout(self) -> dict[str, float]:
        """Loss on the documents kept out of training."""
        return heldout_loss(self.model, self.config, self.corpus.heldout, self.tokenizer.special)

    def save(self, run: Path) -> Path:
        """Write a checkpoint."""
        return save_checkpoint(
            run,
            self.model,
            self.optimizer,
            self.tokenizer,
            self.config,
            self.progress,
            self._data,
        )

    def restore(self, path: Path) -> None:
        """Go back to a checkpoint."""
        self.progress = load_checkpoint(path, self.model, self.optimizer, self.config, self._data)


def train(
    merged: MergedConfig,
    run: Path,
    tokenizer: Tokenizer,
    corpus: PreparedCorpus,
    *,
    device: torch.device,
    resume: Path | None = None,
    reporter: Reporter | None = None,
) -> Outcome:
    """Train until the end, ``train.max_steps``, or SIGINT or SIGTERM; in each case save before returning.

    Args:
        run: the run's folder; takes ``config.yaml``, ``environment.json``, ``metrics.jsonl`` and checkpoints.
        resume: the checkpoint to go on from; None starts anew.

    Raises:
        ConfigError, ModelError, ResourceError: as of what it calls; what was saved stays.
    """
    config, reporter = merged.run, reporter or Silent()
    preflight(config, run, device)
    tokenizer.check_fits(config.model.vocab_size)
    if device.type == "cpu":
        keep_freed_memory()
    trainer = Trainer(config, tokenizer, corpus, device)
    remove_leftovers(run)
    if resume is not None:
        trainer.restore(resume)
        forget_after(run, trainer.progress.step)
    write_whole(run / "config.yaml", merged.describe() + "\n")
    write_whole(run / "environment.json", json.dumps(_environment(device), indent=2) + "\n")
    last = config.train.max_steps or math.inf
    saved = resume
    with (
        closing(trainer),
        MetricsLog(run, trainer.progress.step, tensorboard=config.tensorboard) as log,
        stop_on_signals() as stop,
    ):
        reporter.begin(trainer.model, trainer.schedule, trainer.progress)
        while trainer.progress.samples < config.total_samples and trainer.progress.step < last:
            record = trainer.step()
            step = trainer.progress.step
            done = trainer.progress.samples >= config.total_samples or step >= last
            if config.eval.every_steps and (step % config.eval.every_steps == 0 or done):
                record["heldout_loss"] = trainer.heldout()
            log.write(record)
            reporter.step(record)
            if step % config.checkpoint.every_steps == 0 or done or stop.signal:
                log.sync()
                saved = trainer.save(run)
            if stop.signal:
                break
    return Outcome(trainer.progress, saved, stop.signal)


def _mean_by_sequence(losses: Tensor, sequence: Tensor, count: int) -> list[float]:
    sums = torch.bincount(sequence, weights=losses.double(), minlength=count)
    numbers = torch.bincount(sequence, minlength=count).clamp(min=1)
    result: list[float] = (sums / numbers).tolist()
    return result


def _speed(tokens: int, seconds: float) -> Record:
    return {"seconds": seconds, "tokens_per_second": tokens / seconds}


def _environment(device: torch.device) -> dict[str, object]:
    return {
        "glm130b": glm130b.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine(),
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
    }
