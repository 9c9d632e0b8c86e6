"""What an exported task holds for its hooks."""

from __future__ import annotations

import json

from glm130b.evaluation.items import Item, Question
from glm130b.evaluation.measure import aggregates
from glm130b.evaluation.statistics import Aggregate
from glm130b.evaluation.task import Task

TASK_FILE = "task.json"


def metric_names(task: Task) -> dict[str, tuple[str, Aggregate]]:
    """Metric and kind of mean by the name the harness has for both."""
    return {
        name if kind == "micro" else f"{name}_macro": (name, kind) for name in task.metrics for kind in aggregates(task)
    }


def line_of(question: Question) -> str:
    """A question as JSON."""
    item = question.item
    facts = {
        "id": item.id,
        "fields": dict(item.fields),
        "labels": item.labels,
        "references": item.references,
        "group": item.group,
        "cluster": item.cluster,
    }
    rest = [question.prompt, question.shots, question.text, question.options, question.digest]
    return json.dumps([facts, *rest], ensure_ascii=False)


def question_of(line: str) -> Question:
    """The question of ``line_of``."""
    facts, prompt, shots, text, options, digest = json.loads(line)
    item = Item(**{**facts, "labels": tuple(facts["labels"]), "references": tuple(facts["references"])})
    return Question(item, prompt, shots, text, tuple(options), digest)
