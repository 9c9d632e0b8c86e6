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
from glm130b.training.loop import Trainer
from glm130b.training.runtime import keep_freed_memory

PRESET = "tiny"
FEWEST_STEPS, MOST_STEPS = 10, 50_000
_EVALUATIONS = 4
_CHECKPOINTS = 3


@dataclass(frozen=True)
class Probe:
    """What a throw-away trainer showed.

    Attributes:
        before: held-out losses of the fresh model; the run starts from the very same parameters, since they
            follow from the seed alone.
        heldout_seconds: what measuring them took.
        steps: how many steps were timed, after one to warm up.
        step_seconds: median time of one.
    """

    before: dict[str, float]
    heldout_seconds: float
    steps: int
    step_seconds: float


def probe(config: RunConfig, tokenizer: Tokenizer, corpus: PreparedCorpus, seconds: float) -> Probe:
    """Take a few real steps and throw them away.

    Args:
        seconds: time to spend on the steps; two are taken however long they last.
    """
    device = torch.device(pick_device(config))
    if device.type == "cpu":
        keep_freed_memory()
    trainer = Trainer(config, tokenizer, corpus, device)
    started = time.perf_counter()
    before = trainer.heldout()
    heldout_seconds = time.perf_counter() - started
    trainer.step()
    times: list[float] = []
    while len(times) < 2 or sum(times) < seconds:
        times.append(trainer.step()["seconds"])
    return Probe(before, heldout_seconds, len(times), median(times))


def pick_device(config: RunConfig) -> str:
    """The device the run will use."""
    return str(checked_device(config.train.device))


def plan(found: Probe, seconds: float) -> list[str]:
    """Overrides of the preset that make warm-up, cosine, evaluations and checkpoints fit ``seconds``."""
    evaluations = _EVALUATIONS if _EVALUATIONS * found.heldout_seconds < 0.1 * seconds else 0
    steps = round((seconds - evaluations * found.heldout_seconds) / found.step_seconds)
    steps = min(max(steps, FEWEST_STEPS), MOST_STEPS)
    batch = load_config(PRESET).run.train.batch.end
    return [
        f"train.total={steps * batch}",
        f"eval.every_steps={-(-steps // evaluations) if evaluations else 0}",
        f"checkpoint.every_steps={-(-steps // _CHECKPOINTS)}",
    ]


def planned(overrides: list[str]) -> MergedConfig:
    """The preset with ``overrides``."""
    return load_config(PRESET, ["name=demo", *overrides])
