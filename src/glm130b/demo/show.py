"""What the tour prints."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from glm130b.config import RunConfig
from glm130b.corpus import PreparedCorpus
from glm130b.demo.examples import CONTINUATION, OPENING, Filled
from glm130b.demo.measures import Precision
from glm130b.demo.pace import Probe
from glm130b.planning import parameter_count
from glm130b.tokenization import Tokenizer

_INDENT = (0, 0, 0, 2)


def heading(console: Console, number: int, title: str, about: str) -> None:
    """One numbered line before each step."""
    console.print(f"\n[bold cyan]{number}  {title}[/]  [dim]{about}[/]")


def command(console: Console, text: str) -> None:
    """A command on a line of its own, never wrapped."""
    console.print(Text(f"  {text}", "bold"), soft_wrap=True)


def ledger(console: Console, corpus: PreparedCorpus, tokenizer: Tokenizer) -> None:
    """Documents, bytes and tokens of each source, from the corpus's ledger."""
    table = _table("", ">documents", ">bytes", ">tokens", ">bytes a token", ">tokens held out")
    for name, entry in corpus.ledger["sources"].items():
        train, held = entry["train"], entry["heldout"]
        tokens = train["tokens"] + held["tokens"]
        num_bytes = train["bytes"] + held["bytes"]
        table.add_row(
            name.capitalize(),
            f"{train['documents'] + held['documents']:,}",
            f"{num_bytes:,}",
            f"{tokens:,}",
            f"{num_bytes / tokens:.2f}",
            f"{held['tokens']:,} ({held['tokens'] / tokens:.1%})",
        )
    console.print(Padding(table, _INDENT))
    console.print(
        f"  One vocabulary of {tokenizer.vocab_size:,} tokens for both languages. "
        "What is held out is never trained on, only measured on."
    )


def recipe(console: Console, config: RunConfig, found: Probe, device: str) -> None:
    """What is about to be trained, and for how long."""
    model, objective, train = config.model, config.objective, config.train
    batch, steps = train.batch.end, -(-config.total_samples // train.batch.end)
    console.print(
        f"  {parameter_count(model):,} parameters: {model.num_layers} layers, hidden size {model.hidden_size}, "
        f"{model.num_heads} heads, on {device}."
    )
    console.print(
        f"  {objective.mask_share:.0%} of the sequences hide short spans (\\[MASK]), {1 - objective.mask_share:.0%} "
        f"hide the end of the text (\\[gMASK]).\n  Embedding gradient shrunk to {train.embedding_gradient_shrink.alpha:g}, "
        f"DeepNorm, rotary positions, GeGLU: GLM-130B's recipe, scaled down."
    )
    console.print(
        f"  {found.steps} trial steps took {found.step_seconds:.2f} s each, so {steps:,} steps of "
        f"{batch} x {config.data.seq_length} tokens are planned."
    )
    if "all" in found.before:
        console.print(f"  Held-out loss of the untrained model: {found.before['all']:.3f} nats a token.")


def filled(console: Console, language: str, result: Filled) -> None:
    """A text with its answers marked, and the likeliest first tokens of each blank."""
    line = Text("  ")
    for n, part in enumerate(result.parts):
        line.append(part)
        if n < len(result.blanks):
            line.append_text(_marked(console, result.blanks[n].text))
    console.print(Text(f"  {language}: {result.source}", "dim"))
    console.print(line)
    for n, blank in enumerate(result.blanks, start=1):
        likely = ", ".join(f"{candidate.text!r} {candidate.probability:.1%}" for candidate in blank.candidates)
        console.print(
            Text(f"    blank {n}: begins with {likely}; mean probability of its tokens {blank.probability:.1%}", "dim")
        )
    console.print()


def continuation(console: Console, text: str, vocab_size: int) -> None:
    """The continued text, and how much to think of it."""
    console.print(Text(f"  Continued (temperature {CONTINUATION.temperature:g}, top-p {CONTINUATION.top_p:g}):", "dim"))
    line = Text(OPENING).append_text(_marked(console, text))
    console.print(Padding(line, _INDENT))
    console.print(
        f"\n  A model this small and this young writes poorly: it has learned which tokens are frequent and some of\n"
        f"  their company. An untrained one gives each token about {1 / vocab_size:.3%}.",
    )


def precisions(console: Console, copies: Sequence[Precision], config: RunConfig) -> None:
    """Held-out loss and size of each copy."""
    table = _table("weights", ">held-out loss", ">difference", ">MB", "folder")
    first = copies[0].losses.get("all")
    for copy in copies:
        loss = copy.losses.get("all")
        table.add_row(
            copy.name,
            "nothing held out" if loss is None else f"{loss:.4f}",
            "" if loss is None or first is None or copy is copies[0] else f"{loss - first:+.4f}",
            f"{copy.megabytes:.1f}",
            str(copy.folder),
        )
    console.print(Padding(table, _INDENT))
    embedding = config.model.vocab_size * config.model.hidden_size / parameter_count(config.model)
    console.print(
        f"  Only the linear maps are quantised; the embedding, {embedding:.0%} of this model, is not. One scale a row at 4\n"
        "  bits costs small models some loss, as is known; that it costs GLM-130B next to nothing is the paper's claim."
    )


def _marked(console: Console, text: str) -> Text:
    """An answer, seen at a glance with and without colours."""
    shown = " ".join(text.split("\n"))
    return Text(shown, "bold green underline") if console.color_system else Text(f"«{shown}»")


def _table(*columns: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in columns:
        table.add_column(name.removeprefix(">"), justify="right" if name.startswith(">") else "left")
    return table
