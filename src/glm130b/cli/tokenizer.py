"""``glm tokenizer``: train a vocabulary, and look at what one does to a text."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from glm130b.tokenization import Tokenizer

app = typer.Typer(help="Train a tokenizer, or see how one splits a text.", no_args_is_help=True)

_TOKENIZER = typer.Option(
    None, "--tokenizer", help="A tokenizer folder, .model file or icetk's ice_text.model; else the bundled one."
)


@app.command()
def train(
    inputs: list[Path] = typer.Argument(help="Files or folders of text to learn from."),
    out: Path = typer.Option(help="The folder to write the tokenizer to."),
    vocab_size: int = typer.Option(16384, help="How many ids, the eight special ones included."),
    megabytes_per_language: float = typer.Option(100.0, min=0.001, help="How much text of each language."),
    character_coverage: float = typer.Option(0.998, help="Share of the characters that get their own piece."),
    seed: int = typer.Option(0, help="Another number chooses other documents."),
    name: str = typer.Option("bilingual", help="What the tokenizer calls itself."),
) -> None:
    """Train a vocabulary on an equal share of each language in the text."""
    from glm130b.corpus import read_documents
    from glm130b.tokenization import balanced_sample, train_tokenizer

    budget = int(megabytes_per_language * 1e6)
    sample = balanced_sample(read_documents(inputs), bytes_per_language=budget, seed=seed)
    for lang, texts in sample.items():
        size = sum(len(text.encode()) for text in texts)
        typer.echo(f"{lang}: {len(texts)} documents, {size / 1e6:.1f} MB")
    tokenizer = train_tokenizer(
        (text for texts in sample.values() for text in texts),
        vocab_size=vocab_size,
        out=out,
        character_coverage=character_coverage,
        name=name,
    )
    typer.echo(f"Wrote {tokenizer.vocab_size} ids to {out}.")


@app.command()
def encode(
    text: str = typer.Argument(help="The text to split."),
    tokenizer: Path | None = _TOKENIZER,
    blanks: bool = typer.Option(False, help="Read [MASK], [gMASK] and [sMASK] as blanks."),
) -> None:
    """Print the ids and the pieces of a text."""
    codec = _load(tokenizer)
    ids = codec.encode_with_blanks(text) if blanks else codec.encode(text)
    typer.echo(" ".join(str(token_id) for token_id in ids))
    typer.echo(" ".join(codec.piece(token_id).replace("\n", "\\n").replace("\t", "\\t") for token_id in ids))


@app.command()
def decode(
    ids: list[int] = typer.Argument(help="The ids, with spaces between."),
    tokenizer: Path | None = _TOKENIZER,
) -> None:
    """Print the text that ids stand for."""
    typer.echo(_load(tokenizer).decode(ids))


@app.command()
def info(tokenizer: Path | None = _TOKENIZER) -> None:
    """Show a tokenizer's size, special tokens and bytes a token."""
    codec = _load(tokenizer)
    typer.echo(f"{codec.name}: {codec.vocab_size} ids, sha256 {codec.fingerprint}")
    for token_id, printed in codec.special.names().items():
        typer.echo(f"{token_id:>8}  {printed}")
    for lang in ("en", "zh"):
        lines = resources.files("glm130b").joinpath(f"data/demo.{lang}.jsonl").read_text(encoding="utf-8")
        texts = [json.loads(line)["text"] for line in lines.splitlines()]
        num_bytes = sum(len(text.encode()) for text in texts)
        num_tokens = sum(map(len, codec.encode_batch(texts)))
        typer.echo(f"{lang}: {num_bytes / num_tokens:.2f} bytes a token on the demo text")


def _load(path: Path | None) -> Tokenizer:
    from glm130b.tokenization import Tokenizer

    return Tokenizer.load(path)
