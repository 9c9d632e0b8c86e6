"""Benchmarks as YAML: items, prompts, what a model is asked, its scores and how sure they are.

Importing this imports torch only when a name is used that runs a model.
"""

from typing import TYPE_CHECKING, Any

from glm130b.evaluation.compare import Comparison, Row, compare, compare_suite, tied_with_best
from glm130b.evaluation.compare_results import compare_results
from glm130b.evaluation.data_files import BUNDLED, find_files, load_items
from glm130b.evaluation.items import Estimate, Item, Outcome, Question, Unit
from glm130b.evaluation.metrics import METRICS, Metric
from glm130b.evaluation.plan import Options, asked_texts
from glm130b.evaluation.questions import Questioner
from glm130b.evaluation.records import read_records, read_task_records, read_units
from glm130b.evaluation.registry import known_suites, known_tasks, read_tasks, select
from glm130b.evaluation.results import (
    Headline,
    Measurement,
    ModelFacts,
    Results,
    Score,
    TaskResult,
    read_results,
    results_schema,
    task_result,
)
from glm130b.evaluation.statistics import (
    Aggregate,
    Change,
    Interval,
    estimate,
    mean_interval,
    paired_changes,
    student_quantile,
)
from glm130b.evaluation.table import (
    aligned,
    interval_text,
    notes_of,
    number_text,
    published_text,
    results_text,
    title_of,
)
from glm130b.evaluation.task import Attention, Task

if TYPE_CHECKING:
    from glm130b.evaluation.answers import AnswerStore, answer_all
    from glm130b.evaluation.encode import Encoder
    from glm130b.evaluation.engine import Engine
    from glm130b.evaluation.evaluate_model import evaluate
    from glm130b.evaluation.identity import identity_of, weights_digest
    from glm130b.evaluation.run import Runner, Step

_WITH_TORCH = {
    "AnswerStore": "answers",
    "Encoder": "encode",
    "Engine": "engine",
    "Runner": "run",
    "Step": "run",
    "answer_all": "answers",
    "evaluate": "evaluate_model",
    "identity_of": "identity",
    "weights_digest": "identity",
}

__all__ = [
    "BUNDLED",
    "METRICS",
    "Aggregate",
    "AnswerStore",
    "Attention",
    "Change",
    "Comparison",
    "Encoder",
    "Engine",
    "Estimate",
    "Headline",
    "Interval",
    "Item",
    "Measurement",
    "Metric",
    "ModelFacts",
    "Options",
    "Outcome",
    "Question",
    "Questioner",
    "Results",
    "Row",
    "Runner",
    "Score",
    "Step",
    "Task",
    "TaskResult",
    "Unit",
    "aligned",
    "answer_all",
    "asked_texts",
    "compare",
    "compare_results",
    "compare_suite",
    "estimate",
    "evaluate",
    "find_files",
    "identity_of",
    "interval_text",
    "known_suites",
    "known_tasks",
    "load_items",
    "mean_interval",
    "notes_of",
    "number_text",
    "paired_changes",
    "published_text",
    "read_records",
    "read_results",
    "read_task_records",
    "read_tasks",
    "read_units",
    "results_schema",
    "results_text",
    "select",
    "student_quantile",
    "task_result",
    "tied_with_best",
    "title_of",
    "weights_digest",
]


def __getattr__(name: str) -> Any:
    if name not in _WITH_TORCH:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_WITH_TORCH[name]}"), name)
