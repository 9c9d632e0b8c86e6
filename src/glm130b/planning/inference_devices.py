"""Machines to answer on: GPUs by their makers' data sheets, and what a CPU was measured to do."""

from __future__ import annotations

import re
from dataclasses import dataclass

from glm130b.errors import ConfigError
from glm130b.planning.estimate import Device


@dataclass(frozen=True)
class Reader(Device):
    """What decoding goes by: how fast weights are read, and how fast they come where they do not fit.

    Attributes:
        bandwidth: of its memory, in bytes/s.
        link: from where weights lie that do not fit, in bytes/s: the host of a GPU, the disk of a CPU; None if unknown.
        reached: share of ``bandwidth`` to expect; the whole of it is the ceiling.
        source: where the figures are from.
    """

    bandwidth: float
    link: float | None
    reached: float
    source: str = "data sheet; three quarters of what PCIe promises"


_GPU_REACHED = 0.5
_PCIE_3, _PCIE_4, _PCIE_5 = 12e9, 24e9, 48e9

READERS = (
    Reader("RTX 2080 Ti 11 GB", 11_540_000_000, 108e12, 616e9, _PCIE_3, _GPU_REACHED),
    Reader("RTX 3090 24 GB", 25_400_000_000, 71e12, 936e9, _PCIE_4, _GPU_REACHED),
    Reader("V100 32 GB", 34_090_000_000, 125e12, 900e9, _PCIE_3, _GPU_REACHED),
    Reader("A100 40 GB", 42_300_000_000, 312e12, 1555e9, _PCIE_4, _GPU_REACHED),
    Reader("A100 80 GB", 84_900_000_000, 312e12, 2039e9, _PCIE_4, _GPU_REACHED),
    Reader("H100 80 GB", 84_900_000_000, 989e12, 3350e9, _PCIE_5, _GPU_REACHED),
    Reader("H200 141 GB", 150_000_000_000, 989e12, 4800e9, _PCIE_5, _GPU_REACHED),
)
"""Memory as PyTorch finds it."""


@dataclass(frozen=True)
class Machine:
    """Devices of one kind over which the layers are spread; each works when its turn comes."""

    reader: Reader
    count: int = 1

    def __str__(self) -> str:
        return f"{self.count} x {self.reader.name}" if self.count > 1 else self.reader.name


PAPER_MACHINES = ("8x A100 40", "8x V100", "8x RTX 3090", "4x RTX 3090", "8x RTX 2080 Ti", "1x A100 80", "1x H200")
"""Shown if none is asked for: those of the paper, and single cards that hold GLM-130B in INT4 or nearly so."""


def parse_machine(text: str, readers: tuple[Reader, ...] = READERS) -> Machine:
    """Read ``4x RTX 3090``, ``8 x A100 40GB`` or ``H200``.

    Raises:
        ConfigError: no such GPU, or several of that name.
    """
    found = re.fullmatch(r"\s*(?:([1-9][0-9]{0,3})\s*[x×*]\s*)?(.+?)\s*", text)
    wanted = _words(found[2]) if found else []
    fitting = [reader for reader in readers if wanted and set(wanted) <= set(_words(reader.name))]
    if found is None or len(fitting) != 1:
        names = ", ".join(reader.name for reader in fitting or readers)
        if fitting:
            raise ConfigError(f"{text!r} could be {names}.", "Say how much memory it has.")
        raise ConfigError(
            f"There are no figures of a GPU {text!r}.", f"Write it like '4x RTX 3090'; known are {names}."
        )
    return Machine(fitting[0], int(found[1] or 1))


def _words(name: str) -> list[str]:
    """Letters and figures apart, so that 3090, RTX3090 and RTX 3090 are the same."""
    return [word for word in re.findall(r"[a-z]+|[0-9]+", name.lower()) if word != "gb"]
