"""What a checkpoint has to be before a run goes on from it, each fault with a sentence of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from glm130b.config import DataConfig, ObjectiveConfig, OptimizerConfig, RunConfig
from glm130b.errors import ConfigError, ModelError
from glm130b.model import TensorInfo
from glm130b.parallel import TIED
from glm130b.samples import settings_seen

_BOUND = ("seed", "model", "data", "objective")
"""Sections that cannot change within a run: they decide what the parameters are and what sample i is.

Of ``data``, only what concerns the sequences already seen; see ``settings_seen``.
"""

_OPTIMIZER = ("betas", "epsilon", "weight_decay")
"""Settings that the averages, or what has become of the weights, depend on."""

_EARLIER = "Older checkpoints are kept; go on from one of them (--resume)."


def drifted_replicas(written: Mapping[str, str], replicas: Sequence[Mapping[str, str]]) -> dict[str, list[int]]:
    """The ranks whose replica of a tensor, or of a piece of it, is not what was written, by its key.

    Args:
        written: SHA-256 of what was written, by key.
        replicas: of what each rank holds and another stands for.
    """
    found: dict[str, list[int]] = {}
    for rank, digests in enumerate(replicas):
        for key, digest in digests.items():
            if written.get(key) != digest:
                found.setdefault(key, []).append(rank)
    return found


def optimizer_settings(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The settings an AdamW really has, as plain values under the names of the configuration."""
    group = optimizer.param_groups[0]
    decay = max(group["weight_decay"] for group in optimizer.param_groups)
    return {"betas": list(group["betas"]), "epsilon": group["eps"], "weight_decay": decay}


def check_replicas(path: Path, drifted: Mapping[str, Sequence[int]]) -> None:
    """Refuse a checkpoint of ranks that did not hold the same.

    Raises:
        ModelError: with the first parameter and the ranks.
    """
    for key, ranks in drifted.items():
        name = key.split("@")[0]
        where = f"rank {ranks[0]}" if len(ranks) == 1 else f"ranks {', '.join(map(str, ranks))}"
        what = "the embedding is untied" if name.endswith(TIED) else "replicas have drifted apart"
        raise ModelError(f"{path}: {what}: {name} of {where} is not that of the rank it was saved from.", _EARLIER)


def check_counters(path: Path, steps: Mapping[str, Sequence[float | None]], names: Iterable[str], updates: int) -> None:
    """Refuse an optimizer that has lost count of its updates: its averages would be corrected for another number.

    Args:
        steps: the counters that were found, by parameter.
        names: of all parameters.

    Raises:
        ModelError: with the first parameter.
    """
    for name in names if updates else ():
        found = steps.get(name) or [None]
        if found == [updates]:
            continue
        said = "is lost" if None in found else f"says {' and '.join(map(str, found))}"
        raise ModelError(f"{path}: the optimizer's step counter of {name} {said}, after {updates} updates.", _EARLIER)


def check_optimizer(path: Path, then: Mapping[str, Any], config: OptimizerConfig) -> None:
    """Refuse to go on with other settings than the averages were made with.

    Args:
        then: the settings, under the names they have in the configuration.

    Raises:
        ConfigError: with the first setting that differs.
    """
    now = config.model_dump(mode="json")
    for key in _OPTIMIZER:
        if then[key] != now[key]:
            raise ConfigError(
                f"{path} was trained with train.optimizer.{key} = {then[key]}, the config says {now[key]}.",
                "Give the run's own value, or set checkpoint.allow_changed_optimizer to true.",
            )


def check_tokenizer(path: Path, then: str | None, now: str) -> None:
    """Refuse another tokenizer than the one whose ids the embedding's rows stand for.

    Raises:
        ConfigError: the fingerprints differ.
    """
    if then != now:
        raise ConfigError(
            f"{path} was trained with another tokenizer than data.tokenizer names.",
            "Give the run's own tokenizer; a copy of it lies in the checkpoint.",
        )


def check_tensors(path: Path, found: Mapping[str, TensorInfo], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse tensors that are not just those there should be.

    Raises:
        ModelError: one is missing, superfluous or of another shape, by name.
    """
    if missing := [name for name in shapes if name not in found]:
        raise ModelError(f"{path} lacks {missing[0]} ({len(missing)} tensors in all).", _EARLIER)
    for name, info in found.items():
        if name not in shapes:
            raise ModelError(f"{path} holds {name}, which the model does not have.", _EARLIER)
        if info.shape != shapes[name]:
            raise ModelError(f"{path}: {name} is {list(info.shape)}, the model wants {list(shapes[name])}.", _EARLIER)


def check_same_run(path: Path, state: Mapping[str, Any], config: RunConfig, fingerprints: Mapping[str, str]) -> None:
    """Refuse to go on as another run: with another model, data order or corpus.

    Raises:
        ConfigError: with the first setting, or the source of text, that differs.
    """
    samples = int(state["samples"])
    then, now = dict(state["config"]), config.model_dump(mode="json")
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
