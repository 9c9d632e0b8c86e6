"""What to change in a configuration that does not fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from glm130b.config import RunConfig


def memory_remedy(config: RunConfig, limit: int, needed: Callable[[RunConfig], int]) -> tuple[str, int] | None:
    """The mildest setting that makes a run fit, or all of them together; None if nothing short of more ranks does.

    Args:
        limit: bytes there are.
        needed: bytes that a configuration needs.

    Returns:
        The setting as ``--set`` takes it, and the bytes then needed.
    """
    together, names = config, []
    for name, change in _changes(config):
        size = needed(change(config))
        if size <= limit:
            return name, size
        together = change(together)
        names.append(name)
    size = needed(together)
    return (" ".join(names), size) if names and size <= limit else None


def _changes(config: RunConfig) -> Iterator[tuple[str, Callable[[RunConfig], RunConfig]]]:
    parallel, train = config.parallel, config.train
    if parallel.tensor > 1 and not parallel.sequence and config.data.seq_length % parallel.tensor == 0:
        yield "parallel.sequence=true", lambda run: _set(run, "parallel", sequence=True)
    if parallel.data > 1 and parallel.zero_stage < 1:
        yield "parallel.zero_stage=1", lambda run: _set(run, "parallel", zero_stage=1)
    if parallel.data > 1 and parallel.zero_stage < 2 and parallel.pipeline == 1:
        yield "parallel.zero_stage=2", lambda run: _set(run, "parallel", zero_stage=2)
    if train.micro_batch_size > 1:
        yield "train.micro_batch_size=1", lambda run: _set(run, "train", micro_batch_size=1)
    if train.recompute == "none":
        yield "train.recompute=selective", lambda run: _set(run, "train", recompute="selective")
    if train.recompute != "full":
        yield "train.recompute=full", lambda run: _set(run, "train", recompute="full")
    if parallel.data > 1 and parallel.zero_stage < 3 and parallel.pipeline == 1:
        yield "parallel.zero_stage=3", lambda run: _set(run, "parallel", zero_stage=3)


def _set(run: RunConfig, section: str, **values: object) -> RunConfig:
    return run.model_copy(update={section: getattr(run, section).model_copy(update=values)})
