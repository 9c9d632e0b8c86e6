"""``glm quantize``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

import typer

if TYPE_CHECKING:
    from glm130b.quantization import Bits


def quantize(
    source: Path = typer.Argument(metavar="SOURCE", help="A model folder, or a run: then its newest checkpoint."),
    destination: Path = typer.Argument(metavar="DESTINATION", help="The folder to write."),
    bits: int = typer.Option(8, metavar="BITS", help="8 or 4."),
) -> None:
    """Write a copy of a model with INT8 or INT4 weights."""
    from glm130b.interop import quantize_folder, resolve, weight_bytes

    quantize_folder(source, destination, cast("Bits", bits))
    before, after = (weight_bytes(folder) for folder in (resolve(source), destination))
    typer.echo(f"Wrote {destination}: {after / 1e6:.1f} MB of weights, from {before / 1e6:.1f} MB.")
