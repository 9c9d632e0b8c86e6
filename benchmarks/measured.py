"""A training run whose every step is measured: speed, utilisation, and where the time goes."""

from __future__ import annotations

import statistics
from dataclasses import replace
from typing import Any

import torch
import torch.distributed as dist
from accounts import Accounts, exposed
from common import gathered, known_peak, measured_peak, seconds
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from glm130b.config import RunConfig
from glm130b.corpus import PreparedCorpus
from glm130b.planning import Work, hardware_flops, training_flops
from glm130b.tokenization import Tokenizer
from glm130b.training import Trainer
from glm130b.training.batch import work_of
from glm130b.training.checkpoint_writer import CheckpointWriter

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
SHARES = ("computation", "communication", "bubble", "loader", "optimizer", "checkpoint")


class Measured:
    """A run in one precision, and what was measured of it on this rank."""

    def __init__(
        self, config: RunConfig, device: torch.device, text: tuple[Tokenizer, PreparedCorpus], accounts: Accounts
    ) -> None:
        self.config, self.device, self.accounts = config, device, accounts
        self.trainer = Trainer(config, *text, device, beat=accounts.beat)
        self.rounds: list[dict[str, float]] = []
        self.times: list[dict[str, float]] = []
        self._known = known_peak(device) if config.train.precision != "fp32" else None
        self._dtype = DTYPES[config.train.precision] if device.type == "cuda" else torch.float32
        if config.parallel.pipeline > 1 and device.type == "cpu":
            self._wait_for_the_last_stage()

    def _wait_for_the_last_stage(self) -> None:
        """Book a stage's wait for the others at the end of a step as what it is."""
        runner, group = self.trainer._runner, self.trainer.mesh.pipeline_group
        run = runner.run

        def run_and_wait(*batches: Any, train: bool) -> Any:
            losses = run(*batches, train=train)
            with self.accounts.running("bubble"):
                dist.barrier(group)
            return losses

        runner.run = run_and_wait

    def peak(self) -> float:
        """FLOP/s of this rank's device."""
        shared = self.device.type == "cpu" and self.trainer.mesh.world.size > 1
        return self._known or measured_peak(self.device, self._dtype, shared=shared)

    def work(self) -> Work:
        """What the next step's sequences ask for."""
        first, size = self.trainer.progress.samples, self.config.train.batch.end
        return work_of([self.trainer.stream[number] for number in range(first, first + size)])

    def round(self, writer: CheckpointWriter | None) -> float:
        """One step, with a checkpoint after it if there is a writer; the seconds of the step."""
        trainer, model = self.trainer, self.config.model
        work, peak = self.work(), sum(gathered(self.peak()))
        self.accounts.take()
        taken = seconds(trainer.step)
        if writer is not None:
            with self.accounts.running("checkpoint"):
                writer.save(trainer.placed.held, trainer.optimizer, trainer.progress, trainer.state)
        self.accounts.switch("other")
        self.times.append(self.accounts.take())
        peak = max(peak, sum(gathered(self.peak())))
        self.rounds.append(
            {
                "peak_gflops": peak / 1e9,
                "tokens_per_second": self.config.train.batch.end * self.config.data.seq_length / taken,
                "mfu": training_flops(model, work) / taken / peak,
                "hfu": hardware_flops(model, work, self.config.train.recompute) / taken / peak,
            }
        )
        return taken

    def dense_attention(self) -> float:
        """Seconds of the last step, taken once more with a dense mask."""
        trainer, progress = self.trainer, self.trainer.progress
        trainer.progress = replace(progress, samples=progress.samples - self.config.train.batch.end)
        trainer.model.attention_backend = "sdpa"
        taken = seconds(trainer.step)
        trainer.model.attention_backend, trainer.progress = "auto", progress
        return taken

    def shares(self) -> dict[str, float]:
        """Shares of the time of all rounds and ranks."""
        times = [entry for rank in gathered(self.times) for entry in rank]
        totals = {name: sum(entry.get(name, 0.0) for entry in times) for name in SHARES}
        return {name: value / sum(totals.values()) for name, value in totals.items()}

    def exposed_shares(self, steps: int = 3) -> dict[str, float]:
        """On GPUs: shares of communication and bubble, by the kernels of some more steps; a mean over ranks."""
        activity = ProfilerActivity.CUDA if self.device.type == "cuda" else ProfilerActivity.CPU
        with profile(activities=[activity]) as found:
            taken = seconds(lambda: [self.trainer.step() for _ in range(steps)])
        kernels = [
            (event.name, event.time_range.start / 1e6, event.time_range.end / 1e6)
            for event in found.events()
            if event.device_type == DeviceType.CUDA
        ]
        ranks = gathered({name: value / taken for name, value in exposed(kernels).items()})
        return {name: statistics.mean(rank[name] for rank in ranks) for name in ranks[0]}
