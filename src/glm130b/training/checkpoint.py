"""Checkpoints: model folders that also hold what resuming needs, whole or not there."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from glm130b.config import DataConfig, ObjectiveConfig, RunConfig
from glm130b.errors import ConfigError, ModelError
from glm130b.files import is_partial, read_json, whole_folder, write_json
from glm130b.model import GLM, InMemory, checked_tensors, checkpoints, read_tensors, write_tensors
from glm130b.samples import TrainingData, settings_seen
from glm130b.tokenization import Tokenizer
from glm130b.training.optimizer import moments, restore_moments
from glm130b.training.progress import Progress

_BOUND = ("seed", "model", "data", "objective")
"""Sections that cannot change within a run: they decide what the parameters are and what sample i is.

Of ``data``, only what concerns the sequences already seen; see ``settings_seen``.
"""


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


def save_checkpoint(
    run: Path,
    model: GLM,
    optimizer: torch.optim.Optimizer,
    tokenizer: Tokenizer,
    config: RunConfig,
    progress: Progress,
    data: TrainingData,
) -> Path:
    """Write ``checkpoints/step-<n>`` and remove the oldest beyond ``checkpoint.keep``."""
    path = run / "checkpoints" / f"step-{progress.step:08d}"
    with whole_folder(path) as folder:
        tokenizer.save(folder)
        save_file(moments(model, optimizer), folder / "optimizer.safetensors")
        state = {
            **asdict(progress),
            "data_fingerprints": data.fingerprints,
            "seen_in_mip": data.seen_in_mip,
            "config": config.model_dump(mode="json"),
        }
        write_json(folder / "training_state.json", state)
        write_tensors(folder, InMemory(model.state_dict()), config.model, tokenizer=tokenizer.model_fingerprint)
    for old in checkpoints(run)[: -config.checkpoint.keep]:
        _discard(old)
    return path


def load_checkpoint(
    path: Path, model: GLM, optimizer: torch.optim.Optimizer, config: RunConfig, data: TrainingData
) -> Progress:
    """Restore model and optimizer to the last bit.

    Raises:
        ModelError: a file is missing, truncated or damaged, by name.
        ConfigError: the checkpoint is of another model, data order or corpus.
    """
    state = read_json(path / "training_state.json", ModelError)
    try:
        progress = Progress(int(state["step"]), int(state["samples"]))
        _check_same_run(path, state, config, data.fingerprints)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(
            f"{path / 'training_state.json'} is damaged ({error!r}).",
            f"Remove {path} to resume from the checkpoint before it.",
        ) from None
    parameters = model.state_dict()
    with torch.no_grad():
        for name, tensor in checked_tensors(model, read_tensors(path), str(path)):
            parameters[name].copy_(tensor)
    file = path / "optimizer.safetensors"
    try:
        tensors = load_file(file)
        if progress.step:
            restore_moments(model, optimizer, tensors, progress.step)
    except (SafetensorError, OSError, KeyError) as error:
        raise ModelError(
            f"{file} is missing, truncated or damaged ({error}).",
            f"Remove {path} to resume from the checkpoint before it.",
        ) from None
    return progress


def forget_after(run: Path, step: int) -> None:
    """Delete the checkpoints after ``step``: going back to an older one gives up what came of it."""
    for path in reversed(checkpoints(run)):
        if int(path.name.removeprefix("step-")) > step:
            _discard(path)


def _discard(path: Path) -> None:
    # Renamed first, so that a kill half-way leaves no folder that looks whole.
    doomed = path.rename(path.with_name(f".partial-old-{path.name}"))
    shutil.rmtree(doomed, ignore_errors=True)


def remove_leftovers(run: Path) -> None:
    """Delete what a killed process left half-written."""
    for path in (run / "checkpoints").glob(".*"):
        if is_partial(path):
            shutil.rmtree(path, ignore_errors=True)


def _check_same_run(path: Path, state: dict[str, Any], config: RunConfig, fingerprints: dict[str, str]) -> None:
    samples = int(state["samples"])
    then, now = state["config"], config.model_dump(mode="json")
    before = ObjectiveConfig.model_validate(then["objective"])
    then["data"] = settings_seen(DataConfig.model_validate(then["data"]), before, samples)
    now["data"] = settings_seen(config.data, config.objective, samples)
    for section in _BOUND:
        if then[section] != now[section]:
            key, was = _first_difference(then[section], now[section], section)
            raise ConfigError(
                f"{path} was trained with {key} = {was}, the config says otherwise.",
                "Give the run's own config, or train into a new folder (--out).",
            )
    for name in (*now["data"]["sources"], *now["data"]["instructions"]):
        if state["data_fingerprints"][name] != fingerprints[name]:
            raise ConfigError(f"{path} was trained on other tokens than {name} holds now.", "Restore the data.")


def _first_difference(then: Any, now: Any, key: str) -> tuple[str, Any]:
    if isinstance(then, dict) and isinstance(now, dict):
        for name in [*then, *now]:
            if then.get(name) != now.get(name):
                return _first_difference(then.get(name), now.get(name), f"{key}.{name}")
    return key, then
