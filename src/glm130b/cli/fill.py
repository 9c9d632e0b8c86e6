"""``glm fill`` and ``glm generate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

import typer

from glm130b.cli.options import BITS, DEVICE

if TYPE_CHECKING:
    from glm130b.inference import Sampling
    from glm130b.model import GLM, Bits
    from glm130b.tokenization import Tokenizer

_MODEL = typer.Option(
    Path("runs/demo"), "--model", metavar="FOLDER", help="A model folder, or a run: then its newest checkpoint."
)
_TOKENS = typer.Option(64, min=1, metavar="N", help="At most so many tokens for each answer.")
_TEMPERATURE = typer.Option(
    0.0, min=0.0, metavar="T", help="0 always takes the likeliest token; 1 draws as the model says."
)
_TOP_K = typer.Option(0, min=0, metavar="K", help="Draw from the k likeliest tokens; 0 from all.")
_TOP_P = typer.Option(
    0.0, min=0.0, max=1.0, metavar="P", help="Draw from the likeliest that together exceed p; 0 from all."
)
_SEED = typer.Option(0, metavar="N", help="Another seed draws otherwise.")


def fill(
    text: str = typer.Argument(
        metavar="TEXT", help="A text with one or more [MASK]; '-' reads it from standard input."
    ),
    model: Path = _MODEL,
    max_new_tokens: int = _TOKENS,
    temperature: float = _TEMPERATURE,
    top_k: int = _TOP_K,
    top_p: float = _TOP_P,
    seed: int = _SEED,
    bits: int = BITS,
    device: str = DEVICE,
) -> None:
    """Fill the blanks of a text, from left to right."""
    from glm130b.inference import fill

    network, tokenizer = _load(model, bits, device)
    filled, answers = fill(
        network,
        tokenizer,
        _read(text),
        max_new_tokens=max_new_tokens,
        sampling=_sampling(temperature, top_k, top_p, seed),
    )
    typer.echo(filled)
    for answer in answers:
        typer.echo(f"{answer.kind} = {answer.text!r}{'' if answer.ended else '  (cut at a limit)'}", err=True)


def generate(
    text: str = typer.Argument(metavar="TEXT", help="A text to continue; '-' reads it from standard input."),
    model: Path = _MODEL,
    max_new_tokens: int = typer.Option(128, min=1, metavar="N", help="At most so many tokens."),
    temperature: float = _TEMPERATURE,
    top_k: int = _TOP_K,
    top_p: float = _TOP_P,
    seed: int = _SEED,
    bits: int = BITS,
    device: str = DEVICE,
) -> None:
    """Continue a text."""
    from glm130b.inference import generate

    network, tokenizer = _load(model, bits, device)
    text, started = _read(text), False

    def show(piece: str) -> None:
        nonlocal started
        typer.echo(piece if started else text + piece, nl=False)
        started = True

    generate(
        network,
        tokenizer,
        text,
        max_new_tokens=max_new_tokens,
        sampling=_sampling(temperature, top_k, top_p, seed),
        on_text=show,
    )
    typer.echo()


def _read(text: str) -> str:
    if text != "-":
        return text
    import sys

    from glm130b.errors import DataError

    try:
        return sys.stdin.buffer.read().decode("utf-8").rstrip("\n")
    except UnicodeDecodeError:
        raise DataError("Standard input is not UTF-8.", "Convert it, with iconv for example.") from None


def _load(model: Path, bits: int | None, device: str) -> tuple[GLM, Tokenizer]:
    from glm130b.interop import load

    return load(model, device=device, bits=cast("Bits | None", bits))


def _sampling(temperature: float, top_k: int, top_p: float, seed: int) -> Sampling:
    from glm130b.inference import Sampling

    # Asking for top-k or top-p means asking for draws.
    if temperature == 0 and (top_k > 1 or top_p > 0):
        temperature = 1.0
    return Sampling(temperature=temperature, top_k=top_k, top_p=top_p, seed=seed)
