"""What the hooks of an exported task call: its scores by the metrics of ``glm eval run``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from glm130b.evaluation.harness.documents import TASK_FILE, metric_names, question_of
from glm130b.evaluation.items import Answer, Choose, Outcome, Predict, Request, Write
from glm130b.evaluation.metrics import METRICS
from glm130b.evaluation.modes import MODES
from glm130b.evaluation.statistics import value_of
from glm130b.evaluation.task import Task


class Scorer:
    """Scores one exported task. A metric is computed from all documents at once, as some need."""

    def __init__(self, folder: Path) -> None:
        """Read the task that was exported to a folder."""
        self._task = Task.model_validate_json((folder / TASK_FILE).read_text(encoding="utf-8"))

    def process_results(self, doc: Mapping[str, Any], results: Sequence[Any]) -> dict[str, list[Any]]:
        """What each metric needs of a document: its question and the model's answer, as JSON."""
        answers = results if self._task.mode == "generate" else [_number(result) for result in results]
        return {name: [doc["question"], [*answers]] for name in metric_names(self._task)}

    def aggregation(self, name: str) -> Callable[[Sequence[Any]], float]:
        """The function from all documents' ``process_results`` to a metric."""
        metric, aggregate = metric_names(self._task)[name]

        def value(found: Sequence[Any]) -> float:
            outcomes = [self._outcome(question, answers) for question, answers in found]
            return value_of(METRICS[metric].units(outcomes), METRICS[metric], aggregate)

        return value

    def _outcome(self, line: str, answers: Sequence[Any]) -> Outcome:
        task, question = self._task, question_of(line)
        request: Request
        if task.mode == "generate":
            request, answer = Write((), task.mask, "bidirectional", task.decode), Answer(text=answers[0])
        elif task.mode == "choice":
            request, answer = Choose((), ((),) * len(question.options), task.mask), Answer(log_probs=tuple(answers))
        else:
            request, answer = Predict((), 0, 0, task.mask), Answer(log_probs=(answers[0],))
        return MODES[task.mode].outcome(task, question, [request], [answer])


def _number(result: Any) -> float:
    """The harness hands on a log-probability, or one with whether it is greedy."""
    return float(result[0] if isinstance(result, list | tuple) else result)
