"""``glm quant``: what quantising does to a model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import typer

from glm130b.cli.options import Group, group_size

if TYPE_CHECKING:
    from glm130b.model import GLM, Bits
    from glm130b.quantization import ActivationReport, Analysis, Grain
    from glm130b.samples import Sequence as PackedSequence
    from glm130b.tokenization import Tokenizer

app = typer.Typer(help="Look into what quantising does to a model.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    pass


@app.command(short_help="Weights, activations, and what quantising loses.")
def analyse(
    model: Path = typer.Argument(metavar="MODEL", help="A model folder, a run, or an official checkpoint."),
    out: Path = typer.Option(..., metavar="FOLDER", help="Where analysis.json and analysis.html are written."),
    bits: int = typer.Option(None, metavar="BITS", help="8 or 4; default both."),
    group: list[Group] = typer.Option([], help="Columns that share a scale; may be repeated; default all."),
    text: Path = typer.Option(None, metavar="FILE", help="Text to read, for the activations."),
    heldout: Path = typer.Option(None, metavar="RUN", help="Read the text that a run keeps out of training."),
    tokens: int = typer.Option(8192, min=1, metavar="N", help="Of --text, at most so many tokens."),
    config: str = typer.Option(
        None, metavar="PRESET_OR_JSON", help="What an official checkpoint does not say, as in glm convert."
    ),
) -> None:
    """Look at every matrix: distribution, kurtosis, error in INT8 and INT4 by rows and groups.

    One matrix is in memory at a time. With a text, the model reads it and its activations are searched for outliers.
    """
    from rich.console import Console
    from rich.progress import track

    from glm130b.errors import ConfigError
    from glm130b.interop import Whole, open_model
    from glm130b.quantization import GRAINS, Analysis, analyse_matrices, matrix_names, write_analysis

    if bits not in (None, 8, 4):
        raise ConfigError(f"Weights cannot be quantised to {bits} bits.", "Use 8 or 4, or leave it out for both.")
    if text and heldout:
        raise ConfigError("--text and --heldout were both given.", "Leave one of them out.")
    opened = open_model(model, config, verify=False)
    source = Whole(opened.ranks)
    wanted: Sequence[Bits] = (cast("Bits", bits),) if bits else (8, 4)
    grains = [_grain(each) for each in group] or GRAINS
    console = Console(stderr=True)
    matrices = list(
        track(
            analyse_matrices(source, wanted, grains),
            "Matrices",
            total=len(matrix_names(source)),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
    )
    activations = _activations(model, config, text, heldout, tokens) if text or heldout else []
    read = (text.name if text else f"held-out text of {heldout}") if activations else None
    analysis = Analysis(model.name, matrices, activations, read)
    _tell(analysis)
    for path in write_analysis(analysis, out):
        typer.echo(f"Wrote {path}")


def _grain(group: Group) -> Grain:
    from glm130b.quantization import Grain

    size = group_size(group)
    return Grain() if size == "row" else Grain(size)


def _activations(
    model: Path, config: str | None, text: Path | None, heldout: Path | None, tokens: int
) -> Sequence[ActivationReport]:
    import torch

    from glm130b.errors import DataError
    from glm130b.interop import load
    from glm130b.quantization import ActivationRecorder

    network, tokenizer = load(model, config=config, verify=False)
    with ActivationRecorder(network) as recorder, torch.inference_mode():
        if text is not None:
            _read_text(network, tokenizer, text, tokens)
        elif heldout is not None:
            _read_heldout(network, tokenizer, model, heldout)
    if not (found := recorder.reports()):
        raise DataError("There is no text to read.", "Give another --text or --heldout.")
    return found


def _read_text(network: GLM, tokenizer: Tokenizer, text: Path, tokens: int) -> None:
    """In windows of the model's length, each behind a [gMASK]."""
    from glm130b.errors import DataError
    from glm130b.inference import language_model_windows, pad_rows

    try:
        ids = tokenizer.encode(text.read_text(encoding="utf-8"))[:tokens]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{text} cannot be read ({error}).", "Give a file of UTF-8 text.") from None
    length = network.config.max_sequence_length
    for start in range(0, len(ids), length - 1):
        (window,) = language_model_windows(
            ids[start : start + length - 1], tokenizer.special, generation_length=length - 1, max_seq_length=length
        )
        network.hidden_states(*pad_rows([window], multiple=1))


def _read_heldout(network: GLM, tokenizer: Tokenizer, model: Path, run: Path) -> None:
    """The sequences that held-out losses are measured on, without their padding."""
    import numpy as np
    import torch

    from glm130b.cli.heldout import open_heldout
    from glm130b.training import heldout_losses

    found = open_heldout(run)
    found.check_tokenizer(tokenizer, model)

    def read(sequences: Sequence[PackedSequence]) -> list[float]:
        for each in sequences:
            columns = np.stack([each.tokens, each.position_ids, each.sample, each.branch])
            network.hidden_states(*torch.from_numpy(columns[:, None, each.sample >= 0]))
        return [0.0] * len(sequences)

    heldout_losses(read, found.config, found.corpus.heldout, tokenizer.special)


def _tell(analysis: Analysis) -> None:
    from glm130b.planning import columns

    kinds = analysis.kinds()
    rows = [["medians over the layers", *(row.kind for row in kinds)]]
    rows.append(["excess kurtosis", *(f"{row.kurtosis:.2f}" for row in kinds)])
    rows.append(["within rows", *(f"{row.row_kurtosis:.2f}" for row in kinds)])
    rows.append(["largest of a row, in its RMS", *(f"{row.peak:.2f} ({row.gaussian_peak:.2f})" for row in kinds)])
    for way in analysis.ways():
        losses = [row.losses.get(way) for row in kinds]
        cells = ["" if loss is None else f"{loss.relative:.4f} ({loss.gaussian:.4f})" for loss in losses]
        rows.append([f"error, INT{way[0]}, {way[1]}", *cells])
    typer.echo("\n".join(columns(rows)))
    typer.echo("In brackets: independent normal weights of the same width.")
    if analysis.activations:
        worst = max(analysis.activations, key=lambda report: report.share_above_median)
        typer.echo(
            f"Activations: at most {worst.share_above_median:.1%} of the dimensions are outliers, at {worst.name}."
        )
        for report, outlier in analysis.outliers()[:3]:
            typer.echo(f"  {report.name}, dimension {outlier.dimension}: {outlier.ratio:.1f} times the median")
