"""``glm convert``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, cast

import typer

from glm130b.cli.options import GROUP, OUTPUT_BITS, Group, group_size

if TYPE_CHECKING:
    from glm130b.quantization import Bits


class To(StrEnum):
    """What to write."""

    FOLDER = "folder"
    SAT = "sat"


class Precision(StrEnum):
    """What to round rotary frequencies to."""

    FP16 = "fp16"
    FP32 = "fp32"


def convert(
    source: Path = typer.Argument(
        metavar="SOURCE", help="An official checkpoint (the folder with `latest`), a model folder, or a run."
    ),
    destination: Path = typer.Argument(metavar="DESTINATION", help="The folder to write."),
    to: To = typer.Option(..., help="A model folder, or the official layout."),
    tp: int | None = typer.Option(
        None, min=1, metavar="N", help="Tensor-parallel ranks to write for; with --to folder, to quantise as if for."
    ),
    bits: int | None = typer.Option(None, metavar="BITS", help="Quantise the weights: 8 or 4."),
    group: Group | None = GROUP,
    output_bits: int | None = OUTPUT_BITS,
    config: str | None = typer.Option(
        None,
        metavar="PRESET_OR_JSON",
        help="Of an official checkpoint that is not GLM-130B's own size: a preset or a JSON file, with num_heads.",
    ),
    tokenizer: Path | None = typer.Option(
        None, metavar="FILE", help="Tokenizer for the folder, such as ice_text.model; default what lies with SOURCE."
    ),
    rope_frequencies: Precision | None = typer.Option(
        None, help="Rounding of rotary frequencies; default fp16 for official checkpoints, as their code has it."
    ),
) -> None:
    """Convert between official checkpoints and model folders, and quantise.

    One tensor is in memory at a time. Interrupted, the same command goes on.
    """
    from glm130b.cli.progress import copying
    from glm130b.files import size_text
    from glm130b.interop import convert, describe

    with copying() as (on_start, on_bytes):
        notes = convert(
            source,
            destination,
            to=to.value,
            tensor_parallel=tp,
            bits=cast("Bits | None", bits),
            group_size=group_size(group),
            output_bits=cast("Bits | None", output_bits),
            config=config,
            tokenizer=tokenizer,
            rope_frequencies=None if rope_frequencies is None else rope_frequencies.value,
            on_start=on_start,
            on_bytes=on_bytes,
        )
    written = describe(destination, config if to == To.SAT else None)
    typer.echo(f"Wrote {destination}: {written.layout}, {written.precision}, {size_text(written.num_bytes)}.")
    for note in notes:
        typer.echo(note)
