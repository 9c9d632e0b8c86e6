"""The whole plan of a run on one page, checked by the code that would carry it out."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from itertools import islice
from pathlib import Path

import torch
import torch.distributed as dist

from glm130b.config import RunConfig
from glm130b.errors import ConfigError
from glm130b.files import size_text
from glm130b.parallel import check_placement
from glm130b.planning import checkpoint_copy, columns, parameter_count, plan_text, ranks_text
from glm130b.training.preflight import CHECKPOINT_BYTES, check_layout, check_mixture, warnings_of
from glm130b.training.schedule import Schedule
from glm130b.training.schedule_table import schedule_table, table_text


def preflight_report(
    config: RunConfig, ranks: int | None = None, *, run: Path | None = None, gpu: bool | None = None
) -> str:
    """What a run is going to be: layout, memory, time, checkpoints, schedules.

    Needs neither devices nor other processes: every stage is placed on a pretended mesh of as many ranks.

    Args:
        ranks: how many there are to be; None for as many as the configuration asks for.
        run: the folder it would train into, for the space its disk has.
        gpu: whether it is to run on GPUs; None decides by ``train.device``, and by what is here if that is ``auto``.

    Raises:
        ConfigError: the layout does not fit the model, the batch or the ranks.
    """
    parallel = config.parallel
    wanted = parallel.pipeline * parallel.data * parallel.tensor
    if ranks is not None and ranks != wanted:
        raise ConfigError(
            f"The configuration lays out {ranks_text(parallel)}; {ranks:,} were asked for.",
            f"Plan for {wanted:,}, or change parallel.*.",
        )
    check_layout(config)
    gpu = _runs_on_gpus(config) if gpu is None else gpu
    schedule = Schedule.of(config)
    steps = Counter(size for _, size in islice(schedule.steps(), config.train.max_steps))
    rows = schedule_table(config)
    parts = [plan_text(config, steps, gpu=gpu), _checkpoints(config, sum(steps.values()), run, gpu=gpu)]
    parts.append("Schedules\n" + "\n".join(f"  {line}".rstrip() for line in table_text(rows).splitlines()))
    parts.append("\n".join([*(f"Note: {text}" for text in _notes(config, gpu=gpu)), _placed(config)]))
    return "\n\n".join(parts)


def _notes(config: RunConfig, *, gpu: bool) -> list[str]:
    notes = warnings_of(config, gpu=gpu)
    try:
        check_mixture(config)
    except ConfigError as error:  # data may still be to come
        notes.append(str(error))
    return notes


def _runs_on_gpus(config: RunConfig) -> bool:
    if config.train.device != "auto":
        return config.train.device.startswith("cuda")
    # A plan for several ranks that is made where there is no GPU is meant for elsewhere.
    parallel = config.parallel
    return torch.cuda.is_available() or parallel.pipeline * parallel.data * parallel.tensor > 1


def _checkpoints(config: RunConfig, num_steps: int, run: Path | None, *, gpu: bool) -> str:
    settings = config.checkpoint
    one = CHECKPOINT_BYTES * parameter_count(config.model)
    rows = [
        ("each", f"{size_text(one)}, every {settings.every_steps:,} steps"),
        (
            "at once",
            f"{settings.keep + 1}: {settings.keep} kept and one being written, {size_text((settings.keep + 1) * one)}",
        ),
    ]
    if settings.keep_every:
        number = num_steps // settings.keep_every
        rows.append(("for good", f"{number:,} more by the end of the run, {size_text(number * one)}"))
    if run is not None:
        place = next(parent for parent in (run, *run.resolve().parents) if parent.exists())
        free = shutil.disk_usage(place).free
        rows.append(("room", f"for {free // one:,}: {size_text(free)} free at {run}"))
    if settings.asynchronous:
        copy = max(checkpoint_copy(config, rank) for rank in range(config.parallel.pipeline))
        where = "main memory" if gpu else "memory, not counted above"
        rows.append(("copy", f"{size_text(copy)} of each rank's {where}, to be written from"))
    return "\n".join(["Checkpoints", *columns(rows, left=2)])


def _placed(config: RunConfig) -> str:
    """Place the model for a sentence about it."""
    if dist.is_initialized():
        return "Not placed: this process is in a job."
    started = time.perf_counter()
    shares = check_placement(config)
    total = sum(share.num_parameters for share in shares)
    ranks = config.parallel.pipeline * config.parallel.data * config.parallel.tensor
    return (
        f"Placed all {total:,} parameters on a pretended mesh of {ranks:,} in {time.perf_counter() - started:.1f} s; "
        "nothing was trained."
    )
