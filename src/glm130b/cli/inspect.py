"""``glm inspect``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from glm130b.errors import ModelError

if TYPE_CHECKING:
    from glm130b.interop import Description


def inspect(
    path: Path = typer.Argument(metavar="PATH", help="A model folder, a run, or an official checkpoint."),
    verify: bool = typer.Option(
        False, "--verify", help="Read all weights and compare them with the checksums recorded."
    ),
    config: str | None = typer.Option(
        None, metavar="PRESET_OR_JSON", help="What an official checkpoint does not say, as in glm convert."
    ),
) -> None:
    """Show what lies in a folder of weights: layout, sizes, precision, checksums."""
    from glm130b import interop

    try:
        _describe(interop.describe(path, config))
        broken = None
    except ModelError as error:
        if not verify:
            raise
        broken = error
    faults = count = 0
    not_read = "-" if verify else "(--verify computes it)"
    for file in interop.verify(path) if verify else interop.describe(path, config).files:
        count += 1
        name = f"{file.path.name:<32}"
        faults += file.fault is not None
        state = file.fault or ("verified" if verify else "")
        typer.echo(f"  {name}  {file.size:>15,}  {file.sha256 or not_read}  {state}".rstrip())
    if faults:
        what, again = ("is not as it was", "it") if faults == 1 else ("are not as they were", "them")
        raise ModelError(f"{faults} of the {count} files of {path} {what} written.", f"Copy {again} again.")
    if broken is not None:
        raise broken


def _describe(found: Description) -> None:
    from glm130b.files import size_text

    model, (name, num_bytes) = found.config, found.largest
    known = found.num_heads is not None
    rows = {
        "path": found.path,
        "layout": found.layout,
        "parameters": f"{found.num_parameters:,}",
        "shape": f"{model.num_layers} layers, hidden {model.hidden_size}, "
        f"{found.num_heads if known else 'unknown number of'} heads, "
        f"feed-forward {model.ffn_size}, vocabulary {model.vocab_size}",
        "length": f"{model.max_sequence_length} tokens" if known else "unknown",
        "rotary": "frequencies rounded to FP16" if model.rope_frequencies == "fp16" else "exact frequencies",
        "asked": "as the authors' program asks" if model.conventions == "official" else "as models trained here",
        "precision": found.precision,
        "tokenizer": found.tokenizer,
        "largest tensor": f"{name}, {size_text(num_bytes)}",
        "weights": f"{size_text(found.num_bytes)}; file, bytes, SHA-256:",
    }
    for label, text in rows.items():
        typer.echo(f"{label:<16}{text}")
