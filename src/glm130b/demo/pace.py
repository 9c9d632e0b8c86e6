"""How many steps fit the time: measured on this machine, not guessed."""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median

import torch

from glm130b.config import MergedConfig, RunConfig, load_config
from glm130b.corpus import PreparedCorpus
from glm130b.model import checked_device
from glm130b.tokenization import Tokenizer
from glm130b.training import Progress, Schedule, Trainer, keep_freed_memory

PRESET = "tiny"
FEWEST_STEPS, MOST_SAMPLES = 10, 50_000
_EVALUATIONS = 4
_CHECKPOINTS = 3


@dataclass(frozen=True)
class Probe:
    """What a throw-away trainer showed.

    Attributes:
        before: held-out losses of the fresh model; the run starts from the very same parameters, since they
            follow from the seed alone.
        heldout_seconds: what measuring them took.
        steps: how many steps were timed.
        smallest, largest: median time of a step at the ends of the batch ramp.
    """

    before: dict[str, float]
    heldout_seconds: float
    steps: int
    smallest: float
    largest: float

    def step_seconds(self, batch: int, schedule: Schedule) -> float:
        """Time of a step of ``batch`` sequences, on the line through the two that were measured."""
        if schedule.batch_start == schedule.batch_end:
            return self.largest
        share = (batch - schedule.batch_start) / (schedule.batch_end - schedule.batch_start)
        return self.smallest + share * (self.largest - self.smallest)


def probe(config: RunConfig, tokenizer: Tokenizer, corpus: PreparedCorpus, seconds: float) -> Probe:
    """Take a few real steps and throw them away.

    Args:
        seconds: time to spend on the steps; two of each size are taken however long they last.
    """
    device = torch.device(pick_device(config))
    if device.type == "cpu":
        keep_freed_memory()
    trainer = Trainer(config, tokenizer, corpus, device)
    started = time.perf_counter()
    before = trainer.heldout()
    heldout_seconds = time.perf_counter() - started
    trainer.step()
    count, medians = 0, []
    for samples in (0, config.total_samples - trainer.schedule.batch_end):
        times: list[float] = []
        while len(times) < 2 or sum(times) < seconds / 2:
            trainer.progress = Progress(trainer.progress.step, samples)
            times.append(trainer.step()["seconds"])
        count += len(times)
        medians.append(median(times))
    return Probe(before, heldout_seconds, count, *medians)


def pick_device(config: RunConfig) -> str:
    """The device the run will use."""
    return str(checked_device(config.train.device))


def plan(found: Probe, seconds: float) -> list[str]:
    """Overrides of the preset that make warm-up, cosine, evaluations and checkpoints fit ``seconds``."""
    evaluations = _EVALUATIONS if _EVALUATIONS * found.heldout_seconds < 0.1 * seconds else 0
    left = seconds - evaluations * found.heldout_seconds
    total, largest = 1, MOST_SAMPLES
    while total < largest:
        middle = (total + largest + 1) // 2
        schedule = _schedule(middle)
        if sum(found.step_seconds(batch, schedule) for _, batch in schedule.steps()) <= left:
            total = middle
        else:
            largest = middle - 1
    total = max(total, FEWEST_STEPS * _schedule(1).batch_end)
    steps = sum(1 for _ in _schedule(total).steps())
    return [
        f"train.total={total}",
        f"eval.every_steps={-(-steps // evaluations) if evaluations else 0}",
        f"checkpoint.every_steps={-(-steps // _CHECKPOINTS)}",
    ]


def _schedule(total: int) -> Schedule:
    return Schedule.of(planned([f"train.total={total}"]).run)


def planned(overrides: list[str]) -> MergedConfig:
    """The preset with ``overrides``."""
    return load_config(PRESET, ["name=demo", *overrides])
