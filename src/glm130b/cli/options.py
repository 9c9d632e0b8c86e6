"""Options that several commands have."""

from __future__ import annotations

import typer

OVERRIDES = typer.Option([], "--set", metavar="A.B=C", help="Override one value; may be repeated.")
BITS = typer.Option(None, metavar="BITS", help="Quantise the weights while loading: 8 or 4.")
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
