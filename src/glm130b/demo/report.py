"""``report.html``: one page that needs nothing but itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from glm130b.chart import Point, Series, line_chart, trailing_mean
from glm130b.config import RunConfig
from glm130b.corpus import PreparedCorpus
from glm130b.demo.examples import CONTINUATION, OPENING, Filled
from glm130b.demo.measures import Precision, loss_rows
from glm130b.demo.show import percent, signed
from glm130b.errors import ModelError
from glm130b.files import read_json, whole_file
from glm130b.planning import parameter_count
from glm130b.training import Record, read_metrics


@dataclass(frozen=True)
class Results:
    """All that the page tells.

    Attributes:
        before: held-out losses of the fresh model.
        frequencies: see ``measures.frequency_loss``.
        training_seconds: wall time of the training.
        reproduce, next_steps: commands.
    """

    out: Path
    config: RunConfig
    corpus: PreparedCorpus
    before: dict[str, float]
    frequencies: dict[str, float]
    filled: dict[str, Filled]
    continuation: str
    precisions: Sequence[Precision]
    training_seconds: float
    reproduce: Sequence[str]
    next_steps: Sequence[str]


def write_report(results: Results) -> Path:
    """Write ``<out>/report.html``.

    Raises:
        ResourceError: it cannot be written.
    """
    environment = Environment(
        loader=PackageLoader("glm130b", "demo"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters |= {"percent": percent, "signed": signed}
    records = read_metrics(results.out / "metrics.jsonl")
    page = environment.get_template("report.html.j2").render(
        results=results,
        config=results.config,
        parameters=parameter_count(results.config.model),
        embedding=results.config.model.vocab_size * results.config.model.hidden_size,
        ledger=results.corpus.entries,
        environment=read_json(results.out / "environment.json", ModelError),
        last=records[-1],
        rows=loss_rows(results.before, results.precisions[0].losses, results.frequencies),
        loss_chart=Markup(_loss_chart(records, results.before, results.precisions[0].losses)),
        gradient_chart=Markup(_gradient_chart(records)),
        window=smoothing(len(records)),
        opening=OPENING,
        sampling=CONTINUATION,
    )
    path = results.out / "report.html"
    with whole_file(path) as partial:
        partial.write_text(page, encoding="utf-8")
    return path


def smoothing(steps: int) -> int:
    """Steps in the trailing mean that is drawn over the loss of each step."""
    return max(1, steps // 20)


def _curve(records: Sequence[Record], key: str) -> list[Point]:
    return [(record["step"], record[key]) for record in records]


def _loss_chart(records: Sequence[Record], before: dict[str, float], after: dict[str, float]) -> str:
    loss, window = _curve(records, "loss"), smoothing(len(records))
    held = {0: before["all"]} if before else {}
    held |= {record["step"]: record["heldout_loss"]["all"] for record in records if record.get("heldout_loss")}
    held |= {records[-1]["step"]: after["all"]} if after else {}
    smooth = [Series(f"training, mean of {window} steps", trailing_mean(loss, window), "one")] if window > 1 else []
    return line_chart(
        [
            Series("training, each step", loss, "raw" if smooth else "one"),
            *smooth,
            Series("held out", list(held.items()), "two", dots=True),
        ],
        x_label="step",
        y_label="loss, nats a token",
        description="Training and held-out loss by step",
    )


def _gradient_chart(records: Sequence[Record]) -> str:
    return line_chart(
        [
            Series("whole gradient, before clipping", _curve(records, "grad_norm"), "three"),
            Series("embedding gradient", _curve(records, "embedding_grad_norm"), "four"),
        ],
        x_label="step",
        y_label="norm (log scale)",
        description="Norm of the whole gradient and of the embedding's gradient by step",
        log_y=True,
    )
