"""What a job runs on: machines, processes, and what these inherit."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from glm130b.config import ParallelConfig
from glm130b.errors import ConfigError

ALONE = "127.0.0.1"
"""Where the processes of a machine that is alone meet."""

_RANKS_PER_CORE = 8
_OPTIONS = "PET_RDZV_CONF"


@dataclass(frozen=True)
class Machines:
    """The machines of a job and where they meet; by default this one alone.

    Attributes:
        fewest, most: how many it runs on; it starts with fewer than ``most`` only if no more come in time.
        rendezvous: ``HOST:PORT`` on one of them, the same for all; port 0 is any.
        options: of PyTorch's rendezvous, such as ``last_call_timeout``: seconds to wait for more than the fewest.
    """

    fewest: int = 1
    most: int = 1
    rendezvous: str = f"{ALONE}:0"
    options: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, nodes: str | None, rendezvous: str | None) -> Machines:
        """From ``N`` or ``MIN:MAX`` and ``HOST:PORT``; this machine alone if neither is given.

        Options of the rendezvous come from torchrun's own variable, ``PET_RDZV_CONF=NAME=VALUE,...``.

        Raises:
            ConfigError: they are not of this form.
        """
        if nodes is None and rendezvous is None:
            return cls()
        if nodes is None or rendezvous is None:
            given, missing = ("--rendezvous", "--nodes") if nodes is None else ("--nodes", "--rendezvous")
            raise ConfigError(f"{given} needs {missing}.", "Give both, or neither for this machine alone.")
        found = re.fullmatch(r"(\d+)(?::(\d+))?", nodes)
        fewest, most = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
        if not 1 <= fewest <= most:
            raise ConfigError(f"--nodes {nodes} is no number of machines.", "Give a number, or MIN:MAX.")
        place = re.fullmatch(r".+:(\d+)", rendezvous)
        if place is None or not 0 < int(place[1]) < 2**16:
            raise ConfigError(
                f"--rendezvous {rendezvous} is not HOST:PORT.",
                "Give the name of one of the machines, the same on all, and a port that is free there.",
            )
        options = [pair.partition("=") for pair in os.environ.get(_OPTIONS, "").split(",") if pair]
        if not all(name and value for name, _, value in options):
            raise ConfigError(f"{_OPTIONS} is not of the form NAME=VALUE,NAME=VALUE.", "Correct or unset it.")
        return cls(fewest, most, rendezvous, {name: value for name, _, value in options})

    @property
    def alone(self) -> bool:
        """Whether no other machine can come."""
        return self.rendezvous == f"{ALONE}:0"


def num_processes(nproc: int | None, parallel: ParallelConfig, device: str, machines: Machines) -> int:
    """Processes to start here: as many as asked for, else one for each GPU, else what the layout has.

    Args:
        device: as the configuration names it; the CPU, or one GPU by its number, means that GPUs are not counted.

    Raises:
        ConfigError: the layout has far more processes than this machine, without a GPU, has cores.
    """
    if nproc is not None:
        return nproc
    if device in ("auto", "cuda"):
        with quiet_torch():
            import torch

        if gpus := torch.cuda.device_count():
            return gpus
    elif device != "cpu":
        return 1
    wanted = -(-parallel.pipeline * parallel.data * parallel.tensor // machines.most)
    if wanted > _RANKS_PER_CORE * num_cores():
        raise ConfigError(
            f"The config asks for {wanted} processes on this machine (parallel.*), which has no GPU and "
            f"{num_cores()} cores.",
            "Train on GPUs, choose a smaller preset, or say how many processes with --nproc.",
        )
    return wanted


@contextmanager
def quiet_torch() -> Iterator[None]:
    """Import PyTorch within the block: its C++ side then prints no stack trace for every connection that is lost.

    Of this process alone; workers keep what they have to say, in their logs.
    """
    name = "TORCH_CPP_LOG_LEVEL"
    if name in os.environ:
        yield
        return
    os.environ[name] = "ERROR"
    try:
        yield
    finally:
        del os.environ[name]


def prepare_environment(nproc: int, machines: Machines) -> None:
    """Set what workers inherit, where the user has not."""
    defaults = {
        # A restart that met the old attempt's store would find the addresses of its dead processes there.
        "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
        # A hang-up ends the launcher as usual, which its workers notice; nohup keeps them all.
        "TORCHELASTIC_SIGNALS_TO_HANDLE": "SIGTERM,SIGINT",
        "OMP_NUM_THREADS": str(max(1, num_cores() // nproc)),
        "PYTHONUNBUFFERED": "1",
    }
    if machines.alone and sys.platform == "linux":
        defaults["GLOO_SOCKET_IFNAME"] = "lo"  # else this machine's name would have to be known to itself
    for name, value in defaults.items():
        os.environ.setdefault(name, value)


def num_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
