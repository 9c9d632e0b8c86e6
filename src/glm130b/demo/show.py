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
from glm130b.demo.measures import LossRow, Precision
from glm130b.demo.pace import Probe
from glm130b.planning import parameter_count
from glm130b.tokenization import Tokenizer
from glm130b.training import Schedule

_INDENT = (0, 0, 0, 2)
_WIDEST = 100


def title(console: Console, num_parameters: int, minutes: float) -> None:
    """What is going to happen."""
    line = Text.assemble(
        ("A bilingual GLM from nothing", "bold"),
        f": {num_parameters / 1e6:.1f} M parameters, {minutes:g} minutes of training.",
    )
    console.print(line)


def say(console: Console, text: str | Text, style: str = "") -> None:
    """A paragraph: indented, wrapped, not wider than the eye likes."""
    lines = (Text(text, style) if isinstance(text, str) else text).wrap(console, min(console.width, _WIDEST) - 2)
    for line in lines:
        line.rstrip()
        console.print(Text("  ").append_text(line), soft_wrap=True)


def percent(share: float) -> str:
    """Two digits that count: 12%, 0.34%, 0.0061%."""
    return f"{100 * share:.2g}%" if share < 0.995 else "100%"


def heading(console: Console, number: int, title: str, about: str) -> None:
    """One numbered line before each step."""
    console.print(f"\n[bold cyan]{number}  {title}[/]  [dim]{about}[/]")


def command(console: Console, text: str) -> None:
    """A command on a line of its own, never wrapped."""
    console.print(Text(f"  {text}", "bold"), soft_wrap=True)


def signed(difference: float) -> str:
    """Four decimals with a sign, but no negative zero."""
    return f"{round(difference, 4) + 0.0:+.4f}"


def ledger(console: Console, corpus: PreparedCorpus, tokenizer: Tokenizer) -> None:
    """Documents, bytes and tokens of each source, from what was prepared."""
    table = _table("", ">documents", ">bytes", ">tokens", ">bytes a token", ">tokens held out")
    for name, entry in corpus.entries.items():
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
    console.print(Padding(table, _INDENT, expand=False))
    say(
        console,
        f"One vocabulary of {tokenizer.vocab_size:,} tokens for both languages. "
        "What is held out is never trained on, only measured on.",
    )


def recipe(console: Console, config: RunConfig, found: Probe, device: str) -> None:
    """What is about to be trained, and for how long."""
    model, objective, train = config.model, config.objective, config.train
    schedule = Schedule.of(config)
    sizes = [batch for _, batch in schedule.steps()]
    say(
        console,
        f"{parameter_count(model):,} parameters: {model.num_layers} layers, hidden size {model.hidden_size}, "
        f"{model.num_heads} heads, on {device}. GLM-130B's recipe, scaled down: DeepNorm, rotary positions, GeGLU, "
        f"embedding gradient shrunk to {train.embedding_gradient_shrink.alpha:g}; {objective.mask_share:.0%} of the "
        f"sequences hide short spans ([MASK]), {1 - objective.mask_share:.0%} hide the end of the text ([gMASK]).",
    )
    say(
        console,
        f"{found.steps} trial steps took {found.smallest:.2g} to {found.largest:.2g} s each, so {len(sizes):,} steps "
        f"of {min(sizes)} to {max(sizes)} sequences are planned: {sum(sizes) * config.data.seq_length:,} tokens.",
    )


def losses(console: Console, rows: Sequence[LossRow], before: dict[str, float], after: dict[str, float]) -> None:
    """Held-out losses before and after training."""
    if not rows:
        say(console, "Nothing is held out, so there is no held-out loss.")
        return
    table = _table("held-out loss", "", ">before", ">after", ">frequencies alone")
    for row in rows:
        baseline = "" if row.frequencies is None else f"{row.frequencies:.3f}"
        table.add_row(row.source.capitalize(), Text(row.hidden_by), f"{row.before:.3f}", f"{row.after:.3f}", baseline)
    table.add_row("Mean", "", f"{before['all']:.3f}", f"{after['all']:.3f}", "", style="bold")
    console.print(Padding(table, _INDENT, expand=False))
    say(
        console,
        "In nats a token. The last column guesses each token by how often it occurs in that language's training text; "
        "a model below it makes use of what it reads.",
    )


def filled(console: Console, language: str, result: Filled) -> None:
    """A text with its answers marked, and the likeliest first tokens of each blank."""
    line = Text()
    for n, part in enumerate(result.parts):
        line.append(part)
        if n < len(result.blanks):
            line.append_text(_marked(console, result.blanks[n].text))
    say(console, f"{language}: {result.source}", "dim")
    say(console, line)
    for n, blank in enumerate(result.blanks, start=1):
        likely = ", ".join(f"{candidate.text!r} {percent(candidate.probability)}" for candidate in blank.candidates)
        say(
            console,
            f"blank {n} begins with {likely}; its tokens have mean probability {percent(blank.probability)}",
            "dim",
        )
    console.print()


def continuation(console: Console, text: str, vocab_size: int) -> None:
    """The continued text, and how much to think of it."""
    say(
        console,
        f"A text continued (temperature {CONTINUATION.temperature:g}, top-p {CONTINUATION.top_p:g}, no end allowed):",
        "dim",
    )
    say(console, Text(OPENING).append_text(_marked(console, text)))
    console.print()
    say(
        console,
        "A model this small and this young writes poorly; the bundled text is small too. An untrained model gives "
        f"each token a probability of about {percent(1 / vocab_size)}.",
    )


def precisions(console: Console, copies: Sequence[Precision], config: RunConfig) -> None:
    """Held-out loss and size of each copy."""
    table = _table("weights", ">held-out loss", ">difference", ">MB")
    first = copies[0].losses.get("all")
    for copy in copies:
        loss = copy.losses.get("all")
        table.add_row(
            copy.name,
            "nothing held out" if loss is None else f"{loss:.4f}",
            "" if loss is None or first is None or copy is copies[0] else signed(loss - first),
            f"{copy.megabytes:.1f}",
        )
    console.print(Padding(table, _INDENT, expand=False))
    embedding = config.model.vocab_size * config.model.hidden_size / parameter_count(config.model)
    say(
        console,
        f"Only the linear maps are quantised; the embedding, {embedding:.0%} of this model, stays as it is. With one "
        "scale a row 4 bits are coarse, and small models usually suffer more from them than large ones, though "
        "weights trained this briefly may show little of it; the paper's claim is about 130 billion parameters.",
    )


def _marked(console: Console, text: str) -> Text:
    """An answer, seen at a glance with and without colours."""
    shown = " ".join(text.split("\n")) or " "
    return Text(shown, "bold green underline") if console.color_system else Text(f"«{shown}»")


def _table(*columns: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in columns:
        table.add_column(name.removeprefix(">"), justify="right" if name.startswith(">") else "left")
    return table
