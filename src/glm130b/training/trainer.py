"""Model, optimizer and data of one run on this rank, and the step that moves them on.

Every rank takes the same steps and comes to the same numbers: what a rank knows alone (its sequences' losses, an
overflow, a signal) is summed over all before anything is decided.
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import torch
import torch.distributed as dist
from torch import Tensor

from glm130b.config import RunConfig
from glm130b.corpus import PreparedCorpus
from glm130b.errors import ModelError
from glm130b.model import GLM, mix
from glm130b.parallel import Gradients, Mesh, Norms, make_runner, padded_micro_batches, place_model
from glm130b.samples import Objective, open_training_data, sample_number
from glm130b.samples import Sequence as PackedSequence
from glm130b.tokenization import Tokenizer
from glm130b.training.batch import MicroBatch, Weighting, micro_batches
from glm130b.training.heldout import heldout_loss
from glm130b.training.loader import Loader
from glm130b.training.loss import linear_cross_entropy, scale_gradient
from glm130b.training.metrics import Record
from glm130b.training.optimizer import build_optimizer, set_learning_rate
from glm130b.training.progress import Progress
from glm130b.training.scaler import LossScale
from glm130b.training.schedule import Schedule

_OVERFLOWS_IN_A_ROW = 20
"""So many at the lowest loss scale, one after the other, and the run stops."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM)

Beat = Callable[[str, int], None]
"""Told the phase and the step whenever this rank gets on; what watches for hangs."""


def silent(_phase: str, _step: int) -> None:
    """Tell nobody."""


class Trainer:
    """One rank of a run.

    Args:
        mesh: where this rank stands; None for a process alone.
        beat: told of every phase.
    """

    def __init__(
        self,
        config: RunConfig,
        tokenizer: Tokenizer,
        corpus: PreparedCorpus,
        device: torch.device,
        *,
        mesh: Mesh | None = None,
        beat: Beat = silent,
    ) -> None:
        train = config.train
        self.config, self.tokenizer, self.corpus, self.device = config, tokenizer, corpus, device
        self.mesh = mesh or Mesh.build(config.parallel, device, train.precision)
        self.schedule = Schedule.of(config)
        self.data = open_training_data(config, corpus, tokenizer)
        self.stream = self.data.stream
        self.progress = Progress()
        self.loss_scale = LossScale(float(train.loss_scale.initial) if train.precision == "fp16" else 1.0)
        self.stopped_by: signal.Signals | None = None
        self._alpha = self.schedule.alpha(0)
        self.placed = place_model(
            config.model,
            self.mesh,
            partial(self._head, self.mesh.tensor_group),
            seed=config.seed,
            precision=train.precision,
            recompute=train.recompute,
            compile_layers=_is_compiled(config, device),
        )
        if self.placed.stages[0].first:
            self.placed.stages[0].model.word_embeddings.register_forward_hook(
                lambda _module, _inputs, output: scale_gradient(output, self._alpha)
            )
        self.gradients = Gradients(self.placed.held, self.mesh)
        self.optimizer = build_optimizer(self.placed.held, train.optimizer)
        shape = (train.micro_batch_size, config.data.seq_length)
        self._runner = make_runner(self.placed, config.model, train.precision, shape)
        self._loader: Loader | None = None
        self._beat = beat

    @property
    def model(self) -> GLM:
        """The model; in a pipeline, the first part of it that this rank holds."""
        return self.placed.stages[0].model

    def step(self, *, asked_to_stop: signal.Signals | None = None) -> Record:
        """Train on the next batch; return its record, which is the same on every rank.

        Args:
            asked_to_stop: a signal this rank has got; after the step ``stopped_by`` says on every rank whether any
                has.

        Raises:
            ModelError: loss or gradient is not finite, or FP16 overflows again and again; parameters are as before
                the step.
        """
        started = time.perf_counter()
        config, before = self.config, self.progress
        size, rate = self.schedule.batch_size(before.trained), self.schedule.learning_rate(before.trained)
        self._alpha, scale = self.schedule.alpha(before.trained), self.loss_scale.scale
        self._beat("loader", before.step + 1)
        places, sequences, waited = self._load(size)
        self._beat("forward-backward", before.step + 1)
        running = time.perf_counter()
        sums, means = self._run(places, sequences, size, scale, asked_to_stop)
        loss = sum(sums) / scale
        self._beat("optimizer", before.step + 1)
        computed = time.perf_counter()
        self.gradients.collect()
        norms = self.gradients.norms(scale)
        applied = self._check(loss, norms)
        if applied:
            self._update(rate, norms.whole, scale)
        self.gradients.clear()
        if config.train.precision == "fp16":
            self.loss_scale = self.loss_scale.after(applied, config.train.loss_scale)
        self.progress = before.after(size, applied=applied)
        ended = time.perf_counter()
        numbers = [sample_number(before.samples + n, config.data.skip) for n in range(size)]
        return {
            **self._position(),
            "loss": loss,
            **self._by_objective(numbers, means),
            "grad_norm": norms.whole if norms.finite else None,
            "embedding_grad_norm": norms.embedding if norms.finite else None,
            "learning_rate": rate,
            "batch_size": size,
            "alpha": self._alpha,
            "loss_scale": scale,
            "applied": applied,
            "seconds": ended - started,
            "loader_seconds": waited,
            "forward_backward_seconds": computed - running,
            "optimizer_seconds": ended - computed,
            "tokens_per_second": size * config.data.seq_length / (ended - started),
        }

    def _head(
        self, group: dist.ProcessGroup | None, hidden: Tensor, weight: Tensor, targets: Tensor, weights: Tensor
    ) -> tuple[Tensor, Tensor]:
        alpha = self._alpha if self.config.train.embedding_gradient_shrink.on_output else 1.0
        return linear_cross_entropy(hidden, scale_gradient(weight, alpha), targets, weights, group)

    def _run(
        self,
        places: list[int],
        sequences: list[PackedSequence],
        size: int,
        scale: float,
        asked_to_stop: signal.Signals | None,
    ) -> tuple[list[float], list[float]]:
        """Forward and backward; each of the step's sequences' share of the scaled loss, and its mean over targets."""
        weighting = Weighting(size, self._targets_of_all(sequences), scale)
        numbers = [sample_number(self.progress.samples + place, self.config.data.skip) for place in places]
        seeds = [mix(self.config.seed, number) for number in numbers]
        losses = self._runner.run(self._micro_batches(sequences, seeds, weighting, size), train=True)
        own = [] if losses is None or self.mesh.tp else losses[: len(sequences)].tolist()
        sums, means = [0.0] * size, [0.0] * size
        for place, sequence, loss in zip(places, sequences, own, strict=False):
            weight = weighting.of(sequence.num_targets) * sequence.num_targets
            sums[place], means[place] = loss, loss / weight if weight else 0.0
        *found, interrupted, terminated = self.mesh.sum(sums + means + [float(asked_to_stop == it) for it in _SIGNALS])
        self.stopped_by = signal.SIGINT if interrupted else signal.SIGTERM if terminated else None
        return found[:size], found[size:]

    def _micro_batches(
        self, sequences: Sequence[PackedSequence], seeds: Sequence[int], weighting: Weighting, size: int
    ) -> list[MicroBatch]:
        """This rank's sequences of a step of ``size``, in as many micro-batches as every other rank's."""
        width, parallel = self.config.train.micro_batch_size, self.config.parallel
        most = -(-size // parallel.data)
        count = padded_micro_batches(-(-most // width), parallel)
        sizes = [width] * count
        if parallel.pipeline == 1:
            sizes = [min(width, max(1, len(sequences) - n * width)) for n in range(count)]
        return micro_batches(
            sequences,
            seeds,
            weighting,
            sizes=sizes,
            seq_length=self.config.data.seq_length,
            same_shape=parallel.pipeline > 1,
            device=self.device,
        )

    def _targets_of_all(self, sequences: Sequence[PackedSequence]) -> int | None:
        if self.config.train.loss == "sequence":
            return None
        (total,) = self.mesh.sum([sum(it.num_targets for it in sequences) if self.mesh.speaks else 0])
        return int(total)

    def _check(self, loss: float, norms: Norms) -> bool:
        """Whether the gradients are to be applied."""
        if norms.finite and math.isfinite(loss):
            return True
        number, fp16 = self.progress.step + 1, self.config.train.precision == "fp16"
        at_floor = fp16 and self.loss_scale.at_floor(self.config.train.loss_scale)
        if at_floor and self.loss_scale.in_a_row + 1 >= _OVERFLOWS_IN_A_ROW:
            raise ModelError(
                f"Step {number} was the {_OVERFLOWS_IN_A_ROW}th in a row to overflow, at the lowest loss scale.",
                "Resume from an earlier checkpoint with a lower train.learning_rate.peak, or skip data.",
            )
        if fp16:
            return False
        raise ModelError(
            f"Step {number} gave loss {loss} and gradient norm {norms.whole}; it was not applied.",
            "Resume with a lower train.learning_rate.peak, or look at its data with `glm samples show`.",
        )

    def _update(self, rate: float, norm: float, scale: float) -> None:
        self.gradients.scale(min(1.0, self.config.train.optimizer.clip / (norm + 1e-6)) / scale)
        set_learning_rate(self.optimizer, rate)
        self.optimizer.step()

    def _position(self) -> Record:
        progress = self.progress
        tokens = progress.samples * self.config.data.seq_length
        return {"step": progress.step, "samples": progress.samples, "trained": progress.trained, "tokens": tokens}

    def _load(self, size: int) -> tuple[list[int], list[PackedSequence], float]:
        """Take the next sequences from a loader that stands where the run does."""
        if self._loader is None or self._loader.consumed != self.progress.samples:
            self._end_loader()
            part = (self.mesh.dp, self.config.parallel.data)
            settings, skip = self.config.train.loader, self.config.data.skip
            self._loader = Loader(self.stream, settings, self.progress.samples, skip, part)
        return self._loader.take(size)

    def close(self) -> None:
        """End the loader's processes, and give up a process group that was made for this trainer."""
        self._end_loader()
        self.mesh.close()

    def _end_loader(self) -> None:
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

    def losses(self, sequences: Sequence[PackedSequence]) -> list[float]:
        """Mean cross-entropy of each sequence's targets, without training on them; all ranks are given all."""
        places = list(range(self.mesh.dp, len(sequences), self.config.parallel.data))
        own = [sequences[place] for place in places]
        batches = self._micro_batches(own, [0] * len(own), Weighting(1), len(sequences))
        found = self._runner.run(batches, train=False)
        values = [0.0] * len(sequences)
        for place, loss in zip(places, [] if found is None or self.mesh.tp else found.tolist(), strict=False):
            values[place] = loss
        return self.mesh.sum(values)

    def heldout(self) -> dict[str, float]:
        """Loss on the documents kept out of training."""
        self._beat("evaluation", self.progress.step)
        return heldout_loss(self.losses, self.config, self.corpus.heldout, self.tokenizer.special)

    @property
    def state(self) -> dict[str, object]:
        """What a checkpoint keeps besides parameters, optimizer and progress."""
        return {"loss_scale": vars(self.loss_scale)} if self.config.train.precision == "fp16" else {}

    def restore_state(self, state: dict[str, object]) -> None:
        """Undo ``state``."""
        kept = state.get("loss_scale")
        if isinstance(kept, dict) and self.config.train.precision == "fp16":
            self.loss_scale = replace(self.loss_scale, **kept)


def _is_compiled(config: RunConfig, device: torch.device) -> bool:
    if config.train.compile == "auto":
        # PyTorch's split backward passes do not go together with compiled layers.
        split = config.parallel.pipeline > 1 and config.parallel.schedule == "zero_bubble"
        return device.type == "cuda" and not split
    return config.train.compile == "on"
