"""``glm quantize``."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import typer

from glm130b.cli.options import DEVICE, GROUP, OUTPUT_BITS, Group, group_size
from glm130b.errors import ConfigError

if TYPE_CHECKING:
    from glm130b.cli.heldout import Heldout
    from glm130b.evaluation import Change
    from glm130b.quantization import Bits, MatrixError


def quantize(
    source: Path = typer.Argument(metavar="SOURCE", help="A model folder, or a run: then its newest checkpoint."),
    destination: Path = typer.Argument(metavar="DESTINATION", help="The folder to write."),
    bits: int = typer.Option(8, metavar="BITS", help="8 or 4."),
    group: Group | None = GROUP,
    output_bits: int | None = OUTPUT_BITS,
    errors: Path | None = typer.Option(None, metavar="FILE.json", help="Write the error of every matrix, too."),
    heldout: Path | None = typer.Option(
        None, metavar="RUN", help="Measure the loss before and after on its held-out text; default SOURCE, if a run."
    ),
    no_heldout: bool = typer.Option(False, "--no-heldout", help="Measure no loss."),
    device: str = DEVICE,
) -> None:
    """Write a copy of a model with INT8 or INT4 weights, and say what that loses.

    One tensor is in memory at a time. Interrupted, the same command goes on.
    """
    from glm130b.cli.progress import copying
    from glm130b.files import refuse_existing, size_text
    from glm130b.interop import describe, quantize_folder, resolve

    if errors is not None:
        refuse_existing(errors)
    text = _heldout(source, heldout, no_heldout)
    source = resolve(source)  # once: a run may go on saving
    with copying() as (on_start, on_bytes):
        found = quantize_folder(
            source,
            destination,
            cast("Bits", bits),
            group_size=group_size(group),
            output_bits=cast("Bits | None", output_bits),
            on_start=on_start,
            on_bytes=on_bytes,
        )
    before, after = describe(source), describe(destination)
    typer.echo(
        f"Wrote {destination}: {after.precision}; {size_text(after.num_bytes)} of weights, from "
        f"{size_text(before.num_bytes)}."
    )
    _print_errors(found)
    changes: dict[str, Change] = {}
    if text is not None:
        changes = _changes(text, source, destination, device)
    if errors is not None:
        _write(errors, f"{source}", f"{destination}", after.precision, found, changes)


def _heldout(source: Path, given: Path | None, without: bool) -> Heldout | None:
    """The text to measure on, known to be the model's before anything is written."""
    from glm130b.cli.heldout import open_heldout
    from glm130b.interop import resolve
    from glm130b.tokenization import Tokenizer

    if without and given is not None:
        raise ConfigError("--heldout and --no-heldout exclude one another.", "Leave one of them out.")
    if without or (given is None and not ((source / "config.yaml").is_file() and (source / "data").is_dir())):
        return None
    text = open_heldout(given or source)
    text.check_tokenizer(Tokenizer.load(resolve(source)), source)
    return text


def _print_errors(found: Mapping[str, MatrixError]) -> None:
    from glm130b.planning import columns
    from glm130b.quantization import errors_by_kind

    rows: list[tuple[str, ...]] = [
        ("relative error of weights", "matrices", "median", "worst", "worst row", "worst matrix")
    ]
    for kind in errors_by_kind(found):
        numbers = (f"{number:.4f}" for number in (kind.median, kind.worst, kind.worst_row))
        rows.append((kind.kind, f"{kind.count}", *numbers, kind.worst_name.removesuffix(".weight")))
    for line in columns(rows):
        typer.echo(line)


def _changes(text: Heldout, source: Path, destination: Path, device: str) -> dict[str, Change]:
    from glm130b.evaluation import paired_changes
    from glm130b.planning import columns

    before = text.losses(source, device)
    if not before:
        typer.echo(f"No loss was measured: {text.run} holds nothing out.")
        return {}
    found = paired_changes(before, text.losses(destination, device))
    for line in columns([("held-out loss", "sequences", "before", "after", "change", "95 % interval"), *_rows(found)]):
        typer.echo(line)
    typer.echo(
        "Nats a token; all is the mean of the lines above. Intervals are paired t over sequences (Satterthwaite)."
    )
    return found


def _rows(found: Mapping[str, Change]) -> Iterator[tuple[str, ...]]:
    for name, change in found.items():
        difference = change.difference
        interval = f"{difference.low:+.5f} to {difference.high:+.5f}"
        if math.isinf(difference.low):
            interval = "unknown: one sequence"
        losses = (f"{number:.4f}" for number in (change.before, change.after))
        yield name, f"{change.count}", *losses, f"{difference.mean:+.5f}", interval


def _write(
    path: Path,
    source: str,
    destination: str,
    precision: str,
    found: Mapping[str, MatrixError],
    changes: Mapping[str, Change],
) -> None:
    import json

    from glm130b.files import write_whole

    content = {
        "source": source,
        "destination": destination,
        "precision": precision,
        "matrices": {name: asdict(error) for name, error in found.items()},
        "heldout": {name: _change_to_json(change) for name, change in changes.items()} or None,
    }
    write_whole(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def _change_to_json(change: Change) -> dict[str, Any]:
    ends = [change.difference.low, change.difference.high]
    return {
        "sequences": change.count,
        "before": change.before,
        "after": change.after,
        "change": change.difference.mean,
        "interval": None if math.isinf(ends[0]) else ends,
    }
