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
    """Write a copy of a model with INT8 or INT4 weights.

    One tensor is in memory at a time. Interrupted, the same command goes on.
    """
    from glm130b.cli.progress import copying
    from glm130b.files import size_text
    from glm130b.interop import describe, quantize_folder

    with copying() as (on_start, on_bytes):
        quantize_folder(source, destination, cast("Bits", bits), on_start=on_start, on_bytes=on_bytes)
    before, after = (describe(path).num_bytes for path in (source, destination))
    typer.echo(f"Wrote {destination}: {size_text(after)} of weights, from {size_text(before)}.")
