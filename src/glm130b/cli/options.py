"""Options that several commands have."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    import torch

    from glm130b.interop import GroupChoice


class Group(StrEnum):
    """Columns that share a scale."""

    ROW = "row"
    G128 = "128"
    G64 = "64"
    G32 = "32"


def group_size(group: Group | None) -> GroupChoice | None:
    """What ``glm130b.load`` and others call ``group_size``."""
    sizes: dict[Group, GroupChoice] = {Group.ROW: "row", Group.G128: 128, Group.G64: 64, Group.G32: 32}
    return None if group is None else sizes[group]


def torch_dtype(name: str | None) -> torch.dtype | None:
    """What ``--dtype`` names.

    Raises:
        ConfigError: nothing that is computed in.
    """
    import torch

    from glm130b.errors import ConfigError

    types = {None: None, "fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}
    if name not in types:
        raise ConfigError(f"--dtype {name} is not known.", "Use fp16, bf16 or fp32.")
    return types[name]


OVERRIDES = typer.Option([], "--set", metavar="A.B=C", help="Override one value; may be repeated.")
BITS = typer.Option(None, metavar="BITS", help="Quantise the weights while loading: 8 or 4.")
GROUP = typer.Option(
    None,
    help="Columns that share a scale; default the most that divide all, and a whole row for official weights.",
)
OUTPUT_BITS = typer.Option(
    None, metavar="BITS", help="Also quantise a copy of the embedding, for the output alone: 8 or 4."
)
DEVICE = typer.Option("auto", metavar="NAME", help="cpu, cuda, …; auto takes a GPU where there is one.")
DEVICES = typer.Option(
    "auto",
    "--device",
    metavar="NAMES",
    help="cpu, cuda, …; auto takes a GPU where there is one; gpus, or names with commas, spread the layers.",
)
DTYPE = typer.Option(
    None, metavar="TYPE", help="Compute in fp16, bf16 or fp32; default as stored, but fp32 for 16 bits on a CPU."
)
MEMORY = typer.Option(
    None,
    metavar="SIZE",
    help="Stay within so much memory, 8GB for example, reading weights as they are needed; default all there is.",
)
