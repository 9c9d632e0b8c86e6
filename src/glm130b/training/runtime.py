"""The process around a run: memory, signals, what was asked for against what there is."""

from __future__ import annotations

import ctypes
import signal
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from glm130b.config import RunConfig
from glm130b.errors import ConfigError, ResourceError
from glm130b.files import check_free_space, folder_lock, size_text
from glm130b.model import checkpoints
from glm130b.planning import parameter_count
from glm130b.samples import mixture_phases

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def keep_freed_memory() -> None:
    """Let glibc reuse large freed blocks rather than hand them back to the system at once.

    By default every tensor over 32 MB is mapped anew, zeroed page by page, each time it is allocated;
    see docs/decisions/0003-allocator.md. Does nothing on other C libraries.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 1 << 30)
        mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)


def run_lock(run: Path) -> AbstractContextManager[None]:
    """Keep a second process out of a run's folder; see ``folder_lock``."""
    return folder_lock(run, f"Another process is training in {run}.")


class StopRequest:
    """Whether, and by which signal, the run was asked to stop."""

    signal: signal.Signals | None = None


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Turn the first SIGINT or SIGTERM into a request; a second one acts at once as usual."""
    request = StopRequest()
    previous: dict[signal.Signals, Any] = {}

    def note(number: int, frame: FrameType | None) -> None:
        request.signal = signal.Signals(number)
        for kind, handler in previous.items():
            signal.signal(kind, handler)

    try:
        for kind in (signal.SIGINT, signal.SIGTERM):
            previous[kind] = signal.signal(kind, note)
    except ValueError:
        previous.clear()  # not the main thread: nobody to interrupt
    try:
        yield request
    finally:
        for kind, handler in previous.items():
            signal.signal(kind, handler)


def preflight(config: RunConfig, run: Path, device: torch.device) -> None:
    """Refuse a run that cannot be trained, before it costs anything.

    Raises:
        ConfigError: it asks for what this version does not train.
        ResourceError: disk or memory do not suffice.
    """
    _check_supported(config)
    _check_memory(config, device)
    _check_disk(config, run)


def _check_supported(config: RunConfig) -> None:
    """Refuse by name what this version does not train.

    Raises:
        ConfigError: FP16, more than one device, or instructions of which there are none.
    """
    mesh = config.parallel
    if mesh.tensor * mesh.pipeline * mesh.data > 1:
        raise ConfigError(
            f"The config asks for {mesh.tensor} x {mesh.pipeline} x {mesh.data} devices (parallel.*); this version "
            "trains on one.",
            "Set parallel.tensor, parallel.pipeline and parallel.data to 1.",
        )
    if config.train.precision == "fp16":
        raise ConfigError("train.precision is fp16, which this version does not train in.", "Use bf16 or fp32.")
    mixture_phases(
        config.data, config.objective, list(config.data.active_sources), list(config.data.active_instructions)
    )


def _check_disk(config: RunConfig, run: Path) -> None:
    """Refuse a run whose checkpoints do not fit the disk; those already there need no more room.

    Raises:
        ResourceError: with the space needed and there.
    """
    one = 12 * parameter_count(config.model)
    missing = max(1, config.checkpoint.keep + 1 - len(checkpoints(run)))
    check_free_space(run, one * missing, f"{missing} checkpoints", "Lower checkpoint.keep, or choose another place.")


def _check_memory(config: RunConfig, device: torch.device) -> None:
    """Refuse a model whose weights, gradients and optimizer state alone exceed the device.

    Raises:
        ResourceError: with the memory needed and there.
    """
    needed = 16 * parameter_count(config.model)
    if device.type == "cuda":
        there = torch.cuda.get_device_properties(device).total_memory
    else:
        pages = Path("/proc/meminfo")
        if not pages.exists():
            return
        there = int(pages.read_text().split()[1]) * 1024
    if needed > there:
        raise ResourceError(
            f"The model needs {size_text(needed)} for weights, gradients and optimizer; {device} has "
            f"{size_text(there)}.",
            "Choose a smaller preset.",
        )
