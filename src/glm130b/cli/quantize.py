"""``glm quantize``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from glm130b.errors import ConfigError

if TYPE_CHECKING:
    from glm130b.quantization import Bits


def checked_bits(bits: int) -> Bits:
    """8 or 4."""
    if bits == 8:
        return 8
    if bits == 4:
        return 4
    raise ConfigError(f"Weights cannot be quantised to {bits} bits.", "Use 8 or 4.")


def quantize(
    source: Path = typer.Argument(metavar="SOURCE", help="A model folder, or a run: then its newest checkpoint."),
    destination: Path = typer.Argument(metavar="DESTINATION", help="The folder to write."),
    bits: int = typer.Option(8, metavar="BITS", help="8 or 4."),
) -> None:
    """Write a copy of a model with INT8 or INT4 weights."""
    from glm130b.interop import quantize_folder, resolve

    quantize_folder(source, destination, checked_bits(bits))
    before, after = (_weight_bytes(folder) for folder in (resolve(source), destination))
    typer.echo(f"Wrote {destination}: {after / 1e6:.1f} MB of weights, from {before / 1e6:.1f} MB.")


def _weight_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob("model-*.safetensors"))
