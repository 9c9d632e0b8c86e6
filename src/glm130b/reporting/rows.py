"""The rows that page, Markdown and LaTeX show alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from glm130b.evaluation import Headline, Results, TaskResult, interval_text, number_text, published_text, title_of
from glm130b.files import size_text
from glm130b.reporting.provenance import Training

SCORE_HEADER = (
    "task",
    "metric",
    "shots",
    "n",
    "score",
    "95 % interval",
    "prompts",
    "random",
    "majority",
    "published",
    "in training",
)
_CODE = {"hash": "SHA-256"}
SEEN = {"none": "no", "label_space": "its kind", "dataset": "yes", "unknown": "not known"}


@dataclass(frozen=True)
class ScoreRow:
    """One headline of one task."""

    task: TaskResult
    headline: Headline

    @property
    def metric(self) -> str:
        """As tables call it."""
        return title_of(self.headline)

    @property
    def count(self) -> str:
        """Units, and how many of them are independent."""
        score = self.headline.score
        return f"{score.units:,}" + (f" ({score.clusters:,} clusters)" if score.clusters < score.units else "")

    @property
    def policy(self) -> str:
        """Which of several prompts the score is of."""
        return f"{self.headline.policy} of {self.headline.prompts}" if self.headline.prompts > 1 else "one"

    @property
    def spread(self) -> str:
        """The worst and the best prompt's scores; empty if there is one prompt."""
        if self.headline.prompts < 2:
            return ""
        return f"{self.number(self.headline.worst)} to {self.number(self.headline.best)}"

    @property
    def seen(self) -> str:
        """Whether the set, or its kind, was in the training data."""
        return SEEN[self.task.seen]

    @property
    def published(self) -> str:
        """GLM-130B's own, in parentheses where its protocol differs."""
        return published_text(self.task, self.headline)

    def number(self, value: float | None) -> str:
        """In the metric's unit, rounded."""
        return number_text(value, self.headline.score.percent)

    def cells(self) -> tuple[str, ...]:
        """Under ``SCORE_HEADER``."""
        score = self.headline.score
        return (
            self.task.name,
            self.metric,
            str(self.headline.shots),
            self.count,
            self.number(score.value),
            interval_text(score),
            f"{self.policy}: {self.spread}" if self.spread else self.policy,
            self.number(score.random) if score.random is not None else "",
            self.number(score.majority) if score.majority is not None else "",
            self.published,
            self.seen,
        )


def score_rows(results: Results) -> dict[str, list[ScoreRow]]:
    """Rows by the first part of the task's name, in the order of the results; lone tasks together, ethics last."""
    found: dict[str, list[ScoreRow]] = {}
    for task in sorted(results.tasks, key=is_ethics):
        name = "ethics" if is_ethics(task) else task.name.split("/")[0] if "/" in task.name else "single tasks"
        found.setdefault(name, []).extend(ScoreRow(task, headline) for headline in task.headlines)
    return found


def is_ethics(task: TaskResult) -> bool:
    """Whether a task is about bias or toxicity."""
    return task.family == "ethics"


def reproducibility(results: Results, training: Training) -> dict[str, list[tuple[str, str]]]:
    """Everything needed to do it again but the data: names and values by section."""
    model, code = results.model, results.code
    stored = f"INT{model.bits}, {f'groups of {model.group_size}' if model.group_size else 'rows'}" if model.bits else ""
    return {
        "Model": [
            ("model", model.path),
            ("parameters", f"{model.parameters:,}"),
            ("weights, SHA-256", model.weights),
            ("tokenizer, SHA-256", model.tokenizer),
            ("conventions", model.conventions),
        ],
        "Training": list(_training(training)),
        "Evaluation": [
            ("code", ", ".join(f"{_CODE.get(key, key)} {value}" for key, value in code.items() if value)),
            ("software", ", ".join(f"{name} {version}" for name, version in results.software.items())),
            ("hardware", ", ".join(_hardware(results))),
            ("precision", ", ".join(filter(None, (f"{model.precision} on {model.device}", stored)))),
            ("seed", str(results.seed)),
            ("asked for", _asked(results)),
            ("begun and finished (UTC)", f"{results.started} to {results.finished}, {results.seconds:,.1f} s"),
        ],
    }


def data_rows(results: Results, training: Training) -> Iterator[tuple[str, str, str]]:
    """What was read: purpose, name and SHA-256 of each source of training and file of evaluation."""
    for source in training.data if isinstance(training.data, tuple) else ():
        yield "training", source.name, str(source.sha256)
    files = dict.fromkeys((file.path, file.sha256) for task in results.tasks for file in task.files)
    for path, digest in files:
        yield "evaluation", path, digest


def _training(training: Training) -> Iterator[tuple[str, str]]:
    for name, value in training:
        if name in ("data", "hyperparameters"):
            if isinstance(value, str):
                yield name, value
        elif isinstance(value, float):
            yield name, f"{value:,.4g}"
        else:
            yield name, f"{value:,}" if isinstance(value, int) and name == "tokens" else str(value)


def _hardware(results: Results) -> Iterator[str]:
    for name, value in results.hardware.items():
        if isinstance(value, Sequence) and not isinstance(value, str):
            yield from map(str, value)
        elif name == "memory" and value:
            yield f"memory {size_text(value)}"
        elif value is not None:
            yield str(value) if name == "processor" else f"{name} {value}"


def _asked(results: Results) -> str:
    parts = [f"suites {', '.join(results.suites)}" if results.suites else "tasks by name", f"prompts {results.prompts}"]
    parts += [f"at most {results.limit:,} items of each task"] if results.limit is not None else []
    parts += [f"examples {', '.join(map(str, results.shots))}"] if results.shots is not None else []
    parts += [f"left out for want of data {', '.join(results.left_out)}"] if results.left_out else []
    return "; ".join(parts)
