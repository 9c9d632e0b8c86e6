"""``glm fill`` and ``glm generate``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import typer

from glm130b.cli.options import BITS, DEVICES, DTYPE, MEMORY, torch_dtype

if TYPE_CHECKING:
    from glm130b.inference import Decoding, Speculation
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
_BEAMS = typer.Option(None, min=1, metavar="N", help="Keep the N best answers at each step, take the best in the end.")
_LENGTH_PENALTY = typer.Option(
    None, metavar="P", help="With beams: 0 compares probabilities; the larger, the better for long answers. Default 1."
)
_NO_REPEAT = typer.Option(None, min=0, metavar="N", help="With beams: let no N tokens in a row come twice.")
_RULES = typer.Option(
    None,
    "--beam-rules",
    metavar="RULES",
    help="With beams: official or corrected; default official for official weights. See docs/differences.md.",
)
_MIN_TOKENS = typer.Option(None, min=0, metavar="N", help="With beams: at least so many tokens.")
_SPECULATE = typer.Option(
    0,
    min=0,
    max=64,
    metavar="N",
    help="Guess up to N tokens ahead from the text; the answer stays the same. Faster where it repeats the text.",
)


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
    beams: int = _BEAMS,
    length_penalty: float = _LENGTH_PENALTY,
    no_repeat_ngram: int = _NO_REPEAT,
    min_tokens: int = _MIN_TOKENS,
    beam_rules: str = _RULES,
    speculate: int = _SPECULATE,
    bits: int = BITS,
    dtype: str = DTYPE,
    device: str = DEVICES,
    memory: str = MEMORY,
) -> None:
    """Fill the blanks of a text: first each [MASK], then each [sMASK], then each [gMASK]."""
    from glm130b.inference import fill

    decoding = _decoding(temperature, top_k, top_p, seed, beams, length_penalty, no_repeat_ngram, min_tokens)
    rules, speculation = _rules(beam_rules, beams), _speculation(speculate, beams)
    network, tokenizer = _load(model, bits, dtype, device, memory)
    decoding = rules(decoding, network, tokenizer)
    filled, answers = fill(
        network, tokenizer, _read(text), max_new_tokens=max_new_tokens, decoding=decoding, speculation=speculation
    )
    typer.echo(filled)
    for answer in answers:
        typer.echo(f"{answer.kind} = {answer.text!r}{'' if answer.ended else '  (cut at a limit)'}", err=True)
    _report(speculation)


def generate(
    text: str = typer.Argument(metavar="TEXT", help="A text to continue; '-' reads it from standard input."),
    model: Path = _MODEL,
    max_new_tokens: int = typer.Option(128, min=1, metavar="N", help="At most so many tokens."),
    temperature: float = _TEMPERATURE,
    top_k: int = _TOP_K,
    top_p: float = _TOP_P,
    seed: int = _SEED,
    beams: int = _BEAMS,
    length_penalty: float = _LENGTH_PENALTY,
    no_repeat_ngram: int = _NO_REPEAT,
    min_tokens: int = _MIN_TOKENS,
    beam_rules: str = _RULES,
    speculate: int = _SPECULATE,
    bits: int = BITS,
    dtype: str = DTYPE,
    device: str = DEVICES,
    memory: str = MEMORY,
) -> None:
    """Continue a text."""
    from glm130b.inference import generate

    decoding = _decoding(temperature, top_k, top_p, seed, beams, length_penalty, no_repeat_ngram, min_tokens)
    rules, speculation = _rules(beam_rules, beams), _speculation(speculate, beams)
    network, tokenizer = _load(model, bits, dtype, device, memory)
    decoding = rules(decoding, network, tokenizer)
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
        decoding=decoding,
        speculation=speculation,
        on_text=show,
    )
    if not started:
        show("")
    typer.echo()
    _report(speculation)


def _read(text: str) -> str:
    if text != "-":
        return text
    import sys

    from glm130b.errors import DataError

    try:
        return sys.stdin.buffer.read().decode("utf-8").rstrip("\n")
    except UnicodeDecodeError:
        raise DataError("Standard input is not UTF-8.", "Convert it, with iconv for example.") from None


def _load(model: Path, bits: int | None, dtype: str | None, device: str, memory: str | None) -> tuple[GLM, Tokenizer]:
    from glm130b.files import parse_size
    from glm130b.interop import load

    limit = None if memory is None else parse_size(memory)
    return load(model, dtype=torch_dtype(dtype), device=device, bits=cast("Bits | None", bits), memory_limit=limit)


def _speculation(tokens: int, beams: int | None) -> Speculation | None:
    from glm130b.errors import ConfigError
    from glm130b.inference import Speculation

    if tokens and beams is not None:
        raise ConfigError("Beam search does not guess ahead, but --speculate came with --beams.", "Leave one out.")
    return Speculation(tokens) if tokens else None


def _report(speculation: Speculation | None) -> None:
    if speculation is not None:
        typer.echo(f"{speculation.right} of {speculation.guessed} guessed tokens were right", err=True)


def _rules(name: str | None, beams: int | None) -> Callable[[Decoding, GLM, Tokenizer], Decoding]:
    from glm130b.errors import ConfigError
    from glm130b.inference import BeamSearch, conventions_of

    if name not in (None, "official", "corrected"):
        raise ConfigError(f"--beam-rules {name} is not known.", "Use official or corrected.")
    if name is not None and beams is None:
        raise ConfigError("--beam-rules is for beam search.", "Add --beams 4, or leave it out.")

    def choose(decoding: Decoding, network: GLM, tokenizer: Tokenizer) -> Decoding:
        if not isinstance(decoding, BeamSearch):
            return decoding
        own = conventions_of(network, tokenizer).beams
        return replace(decoding, compat={None: own, "official": "glm130b", "corrected": None}[name])

    return choose


def _decoding(
    temperature: float,
    top_k: int,
    top_p: float,
    seed: int,
    beams: int | None,
    length_penalty: float | None,
    no_repeat_ngram: int | None,
    min_tokens: int | None,
) -> Decoding:
    from glm130b.errors import ConfigError
    from glm130b.inference import BeamSearch, Sampling

    draws = temperature > 0 or top_k > 1 or top_p > 0
    if beams is not None:
        if draws:
            raise ConfigError(
                "Beam search draws nothing, but --beams came with --temperature, --top-k or --top-p.",
                "Leave out the one or the others.",
            )
        return BeamSearch(
            num_beams=beams,
            length_penalty=1.0 if length_penalty is None else length_penalty,
            no_repeat_ngram=no_repeat_ngram or 0,
            min_new_tokens=min_tokens or 0,
        )
    if (length_penalty, no_repeat_ngram, min_tokens) != (None, None, None):
        raise ConfigError(
            "--length-penalty, --no-repeat-ngram and --min-tokens are for beam search.",
            "Add --beams 4, or leave them out.",
        )
    # Asking for top-k or top-p means asking for draws.
    return Sampling(temperature=temperature or float(draws), top_k=top_k, top_p=top_p, seed=seed)
