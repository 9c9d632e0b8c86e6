"""What was asked for against what there is, before a run costs anything."""

from __future__ import annotations

import hashlib
import socket
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

import glm130b
from glm130b.code_hash import code_hash
from glm130b.config import ParallelConfig, RunConfig
from glm130b.errors import ConfigError, ResourceError
from glm130b.files import check_free_space, disk_error, size_text
from glm130b.model import checkpoints
from glm130b.parallel import World, check_divides
from glm130b.planning import Step, checkpoint_copy, memory_remedy, parameter_count, peak_memory, stage_shapes
from glm130b.samples import mixture_phases
from glm130b.training.agreement import on_all

CHECKPOINT_BYTES = 12
"""Of each parameter in a checkpoint: itself and AdamW's two averages, in FP32."""

_MUCH_PADDING = 0.2
_CERTAIN, _NEARLY_FULL = 1.1, 0.9
"""Shares of a device's memory above which a plan is refused, and talked about. Estimates came within a tenth of what
was measured."""
_SIGHT_SECONDS = 10.0
"""Network file systems may show a new file to other machines only after some seconds."""


def preflight(config: RunConfig, run: Path, device: torch.device, world: World | None = None) -> list[str]:
    """Refuse a run that cannot be trained; collective if there are several ranks.

    Args:
        run: the run's folder.
        device: this rank's.
        world: all ranks; None for a process alone.

    Returns:
        What is allowed and yet worth knowing, in sentences; the same on every rank.

    Raises:
        ConfigError: the configuration asks for what cannot be, with what to change.
        ResourceError: disk or memory do not suffice, or the ranks do not run the same or do not see the same folder.
    """
    world = world or World()
    hosts = world.gather(socket.gethostname())
    if world.size > 1:
        check_same(config, world, hosts)
        check_folder(run, world, hosts)
    check_layout(config)
    check_mixture(config)
    neighbours = [rank for rank, host in enumerate(hosts) if host == hosts[world.rank]]
    tight = on_all(world, partial(_check_memory, config, device, neighbours))
    on_all(world, partial(_check_disk, config, run, world))
    return [*warnings_of(config, gpu=device.type == "cuda"), *dict.fromkeys(text for text in tight if text)]


def check_layout(config: RunConfig) -> None:
    """Refuse by name what the model, the data or the batch cannot be divided into.

    Raises:
        ConfigError: with what to change.
    """
    parallel = config.parallel
    check_divides(config.model, parallel.tensor, config.data.seq_length if parallel.sequence else None)
    stage_shapes(config.model.num_layers, parallel)
    if config.train.batch.end < parallel.data:
        raise ConfigError(
            f"parallel.data {parallel.data} exceeds the {config.train.batch.end} sequences of the largest batch: some "
            "ranks would never have anything to do.",
            f"Raise train.batch.end to {parallel.data} or more, or lower parallel.data.",
        )
    if parallel.pipeline > 1 and parallel.schedule == "zero_bubble" and config.train.compile == "on":
        raise ConfigError(
            "parallel.schedule zero_bubble parts the backward pass in two, which compiled layers cannot do.",
            "Set train.compile to 'off', or parallel.schedule to interleaved.",
        )


def check_mixture(config: RunConfig) -> None:
    """Refuse shares of sources and instructions that cannot be had.

    Raises:
        ConfigError: there are no instruction data to have a share, for example.
    """
    data = config.data
    mixture_phases(data, config.objective, list(data.active_sources), list(data.active_instructions))


def warnings_of(config: RunConfig, *, gpu: bool) -> list[str]:
    """Settings that work and cost more than they need to, a sentence each."""
    found = []
    parallel, batch = config.parallel, config.train.batch
    for size in dict.fromkeys((batch.start or batch.end, batch.end)):
        step = Step.of(config, size)
        if step.padding > _MUCH_PADDING:
            where = f" on each of {parallel.data} data-parallel ranks" if parallel.data > 1 else ""
            found.append(
                f"A step of {size:,} sequence{'s' * (size > 1)} is {step.padding:.0%} padding: "
                f"{step.num_micro_batches:,} micro-batches of {config.train.micro_batch_size}{where}."
            )
    if parallel.pipeline > 1 and parallel.zero_stage > 1:
        found.append(
            f"With a pipeline, ZeRO stage {parallel.zero_stage} saves no more than stage 1: gradients are reduced at "
            "the end of a step."
        )
    if parallel.sequence and parallel.tensor == 1:
        found.append("parallel.sequence does nothing without parallel.tensor.")
    if config.train.precision == "fp16" and not gpu:
        found.append("FP16 is very slow on CPUs; bf16 and fp32 are not.")
    return found


def device_memory(device: torch.device) -> int | None:
    """Bytes that this device, or on a CPU this machine or container, has; None if unknown."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    limits = []
    machine, container = Path("/proc/meminfo"), Path("/sys/fs/cgroup/memory.max")
    if machine.exists():
        limits.append(int(machine.read_text().split()[1]) * 1024)
    if container.exists() and (text := container.read_text().strip()).isdecimal():
        limits.append(int(text))
    return min(limits, default=None)


def fits(config: RunConfig, device: torch.device) -> Callable[[ParallelConfig], bool]:
    """Whether a layout of this run fits GPUs like this one; CPUs are taken to do."""
    there = device_memory(device) if device.type == "cuda" else None

    def does(parallel: ParallelConfig) -> bool:
        changed = config.model_copy(update={"parallel": parallel})
        ranks = range(parallel.pipeline * parallel.data * parallel.tensor)
        return there is None or memory_needed(changed, ranks, gpu=True) <= _CERTAIN * there

    return does


def memory_needed(config: RunConfig, ranks: Sequence[int], *, gpu: bool) -> int:
    """Bytes of the fullest of some ranks on GPUs of their own; on CPUs, of all together and what they write from."""
    stages = peak_memory(config, gpu=gpu)
    last, stride = len(stages) - 1, config.parallel.data * config.parallel.tensor
    places = [min(rank // stride, last) for rank in ranks]
    if gpu:
        return max(stages[place].total for place in places)
    return sum(stages[place].total + checkpoint_copy(config, place) for place in places)


def _check_memory(config: RunConfig, device: torch.device, neighbours: Sequence[int]) -> str:
    """Refuse a plan that exceeds the memory of a GPU, or of a CPU together with the other ranks on this machine.

    Returns:
        A sentence if it is nearly full, else nothing.

    Raises:
        ResourceError: with the memory needed and there, and what would fit.
    """
    there, gpu = device_memory(device), device.type == "cuda"
    needed = memory_needed(config, neighbours, gpu=gpu)
    if there is None or needed <= _NEARLY_FULL * there:
        return ""
    who = f"the {len(neighbours)} ranks of this machine" if not gpu and len(neighbours) > 1 else "a rank"
    where = f"{'a GPU' if gpu else 'the main memory'} of {socket.gethostname()}"
    text = f"At its fullest a step needs {size_text(needed)} on {who}; {where} has {size_text(there)}."
    if needed <= _CERTAIN * there:
        return text
    remedy = memory_remedy(config, there, lambda changed: memory_needed(changed, neighbours, gpu=gpu))
    raise ResourceError(
        text,
        "Divide the model among more ranks (parallel.tensor, parallel.pipeline), or choose a smaller preset."
        if remedy is None
        else f"Set {remedy[0]}: {size_text(remedy[1])}.",
    )


def _check_disk(config: RunConfig, run: Path, world: World) -> None:
    """Refuse a run whose checkpoints do not fit the disk; those already there need no more room.

    Raises:
        ResourceError: with the space needed and there.
    """
    if world.first:
        one = CHECKPOINT_BYTES * parameter_count(config.model)
        missing = max(1, config.checkpoint.keep + 1 - len(checkpoints(run)))
        check_free_space(
            run, one * missing, f"{missing} checkpoints", "Lower checkpoint.keep, or choose another place."
        )


@dataclass(frozen=True)
class _Installed:
    """What has to be the same on every rank."""

    version: str
    code: str
    torch: str
    config: str


def check_same(config: RunConfig, world: World, hosts: Sequence[str]) -> None:
    """Refuse ranks that run other code, another PyTorch or another configuration than rank 0; collective.

    Raises:
        ResourceError: names the host.
    """
    own = _Installed(
        glm130b.__version__,
        code_hash(),
        torch.__version__,
        hashlib.sha256(config.model_dump_json().encode()).hexdigest(),
    )
    everyone = world.gather(own)
    first = everyone[0]
    for rank, other in enumerate(everyone):
        if other == first:
            continue
        where = f"{hosts[rank]} (rank {rank})"
        if (other.version, other.code) != (first.version, first.code):
            what = f"other code of glm130b ({other.version}, {other.code[:12]}) than {hosts[0]} ({first.version}, "
            raise ResourceError(f"{where} runs {what}{first.code[:12]}).", "Install the same version everywhere.")
        if other.torch != first.torch:
            raise ResourceError(
                f"{where} runs PyTorch {other.torch}, {hosts[0]} {first.torch}.", "Install the same everywhere."
            )
        raise ResourceError(
            f"{where} was given another configuration than {hosts[0]}.", "Start every rank with the same command."
        )


def check_folder(run: Path, world: World, hosts: Sequence[str]) -> None:
    """Refuse ranks that do not see the run's folder of rank 0; collective.

    Raises:
        ResourceError: names the host.
    """
    mark = run / f".preflight-{world.gather(uuid.uuid4().hex)[0]}"
    on_all(world, partial(_touch, mark) if world.first else lambda: None)
    try:
        until = time.monotonic() + _SIGHT_SECONDS
        while not (seen := mark.exists()) and time.monotonic() < until:
            time.sleep(0.1)
        blind = [rank for rank, sees in enumerate(world.gather(seen)) if not sees]
    finally:
        if world.first:
            mark.unlink(missing_ok=True)
    if blind:
        raise ResourceError(
            f"{hosts[blind[0]]} (rank {blind[0]}) does not see the folder {run} of {hosts[0]}.",
            "Put --out on a file system that all machines share.",
        )


def _touch(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    except OSError as error:
        raise disk_error(path, error) from None
