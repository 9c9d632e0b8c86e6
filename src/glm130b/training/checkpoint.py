"""Checkpoints: model folders that also hold what resuming needs. Which there are, and going on from one.

They are written by ``checkpoint_writer.py``; see docs/decisions/0010-sharded-checkpoints.md.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from glm130b.config import RunConfig
from glm130b.errors import ModelError
from glm130b.files import is_partial, read_json, sha256_of_file
from glm130b.model import checkpoints, read_info
from glm130b.parallel import Held, World
from glm130b.planning import parameter_shapes
from glm130b.samples import TrainingData
from glm130b.tokenization import Tokenizer
from glm130b.training.agreement import on_all
from glm130b.training.checkpoint_parts import MOMENTS, moments, weights
from glm130b.training.checkpoint_shards import check_whole, open_checkpoint
from glm130b.training.guard import (
    check_counters,
    check_optimizer,
    check_replicas,
    check_same_run,
    check_tokenizer,
)
from glm130b.training.progress import Progress
from glm130b.training.retention import discard, step_of

_STATE = "training_state.json"


def latest_checkpoint(run: Path) -> Path | None:
    """The newest checkpoint, or None."""
    return next(iter(reversed(checkpoints(run))), None)


def choose_checkpoint(run: Path, resume: str) -> Path | None:
    """The checkpoint that ``--resume`` means: ``auto``, ``none`` or a checkpoint folder.

    Raises:
        ModelError: no such checkpoint; or ``none`` where there is one, which would be overwritten.
    """
    newest = latest_checkpoint(run)
    if resume == "auto":
        return newest
    if resume == "none":
        if newest is not None:
            raise ModelError(f"{run} holds checkpoints up to {newest.name}.", "Train into a new folder, or resume.")
        return None
    chosen = Path(resume)
    if not (chosen / "training_state.json").is_file():
        raise ModelError(f"{resume} is not a checkpoint.", "Give auto, none or a folder checkpoints/step-*.")
    if newest is not None and chosen.resolve().parent != newest.resolve().parent:
        raise ModelError(f"{run} has checkpoints of its own; {resume} is another run's.", "Train into a new folder.")
    return chosen


def forget_after(run: Path, step: int) -> None:
    """Delete the checkpoints after ``step``: going back to an older one gives up what came of it."""
    for path in reversed(checkpoints(run)):
        if step_of(path) > step:
            discard(path)


def remove_leftovers(run: Path) -> None:
    """Delete what a killed process left half-written; for one process, before any other begins to save."""
    for path in (run / "checkpoints").glob(".*"):
        if is_partial(path):
            shutil.rmtree(path, ignore_errors=True)


def load_checkpoint(
    path: Path,
    held: Sequence[Held],
    optimizer: torch.optim.Optimizer,
    config: RunConfig,
    data: TrainingData,
    tokenizer: Tokenizer,
    world: World,
) -> tuple[Progress, dict[str, Any]]:
    """Restore parameters and optimizer, whatever mesh the checkpoint is of; to the last bit. Collective.

    Every rank reads what it holds; together they compare all that is stored with its checksums.

    Args:
        held: what this rank holds of every parameter.
        optimizer: AdamW over ``held``.

    Returns:
        How far the run had come, and what ``CheckpointWriter.save`` was given as ``extra``.

    Raises:
        ModelError: a file is missing, truncated or damaged; replicas had drifted apart, the embedding was untied,
            or the optimizer had lost count. By name, on every rank.
        ConfigError: the checkpoint is of another model, data order, corpus or tokenizer, or of other settings of
            the optimizer.
    """
    return on_all(world, partial(_load, path, held, optimizer, config, data, tokenizer, world))[world.rank]


def _load(
    path: Path,
    held: Sequence[Held],
    optimizer: torch.optim.Optimizer,
    config: RunConfig,
    data: TrainingData,
    tokenizer: Tokenizer,
    world: World,
) -> tuple[Progress, dict[str, Any]]:
    state = read_json(path / _STATE, ModelError)
    parameters, averages = open_checkpoint(path)
    try:
        if averages.index.description_sha256 not in (None, sha256_of_file(path / _STATE)):
            raise ValueError("its bytes are not those that were written")
        progress, extra = _checked(path, state, config, data, tokenizer)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(
            f"{path / _STATE} is damaged ({error}).",
            f"Remove {path} to resume from the checkpoint before it.",
        ) from None
    if world.first:
        check_whole(path, parameters, averages, config.model, progress.updates)
    for tensors in (parameters, averages):
        tensors.verify_share(world.rank, world.size)
    with torch.no_grad():
        for part in weights(held):
            part.values.copy_(parameters.read_region(part.piece.name, part.piece.region))
        optimizer.state.clear()
        if progress.updates:
            for one in held:
                optimizer.state[one.local] = {
                    "step": torch.tensor(float(progress.updates), device=one.local.device),
                    **{kind: torch.zeros_like(one.local) for kind in MOMENTS},
                }
        for part in moments(held, optimizer):
            part.values.copy_(averages.read_region(part.piece.name, part.piece.region))
    return progress, extra


def _checked(
    path: Path, state: dict[str, Any], config: RunConfig, data: TrainingData, tokenizer: Tokenizer
) -> tuple[Progress, dict[str, Any]]:
    """What ``training_state.json`` says, if the run may go on from it."""
    missed = int(state.get("skipped_steps", 0)), int(state.get("skipped_samples", 0))
    progress = Progress(int(state["step"]), int(state["samples"]), *missed)
    check_tokenizer(path, read_info(path).tokenizer, tokenizer.model_fingerprint)
    check_same_run(path, state, config, data.fingerprints)
    # Earlier versions recorded of the optimizer no more than the configuration says.
    optimizer = state.get("optimizer")
    if not config.checkpoint.allow_changed_optimizer:
        check_optimizer(path, optimizer or state["config"]["train"]["optimizer"], config.train.optimizer)
    if optimizer is not None:
        check_replicas(path, state["drifted_replicas"])
        check_counters(path, optimizer["steps"], parameter_shapes(config.model), progress.updates)
    return progress, state.get("extra", {})
