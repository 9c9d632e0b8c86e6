"""What the tests of several families of tasks have in common: asking every item, and answering as they like."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from glm130b.evaluation.data_files import load_items
from glm130b.evaluation.items import Chosen, Item, Outcome, Question, Written
from glm130b.evaluation.metrics import METRICS
from glm130b.evaluation.questions import Questioner
from glm130b.evaluation.registry import select
from glm130b.evaluation.task import Task

FIXTURES = Path(__file__).parents[1] / "fixtures" / "evaluation"


def task_of(name: str) -> Task:
    (task,) = select([name])
    return task


def items_of(name: str, root: Path = FIXTURES) -> list[Item]:
    return load_items(task_of(name), root).items


def ask_everything(task: Task, root: Path, *, shots: int = 0, most: int = 50) -> list[Question]:
    """Every wording of a task over the first items of its files, checked; the questions of the first wording."""
    loaded = load_items(task, root, shots=shots)
    asked = []
    for prompt in task.prompts:
        questions = list(Questioner(task, loaded.pool).questions(prompt, loaded.items[:most], shots))
        assert len(questions) == min(most, loaded.available)
        assert len({question.digest for question in questions}) > 1
        for question in questions:
            check_question(task, question)
        asked.append(questions)
    return asked[0]


def check_question(task: Task, question: Question) -> None:
    text, options, item = question.text, question.options, question.item
    assert text.count("[MASK]") <= (task.mask == "[MASK]")
    assert "{{" not in text
    assert "{%" not in text
    assert text == text.strip()
    if task.mode == "choice":
        assert len(options) == len(set(options)) >= 2
        assert all(options)
        assert item.labels
        assert all(0 <= label < len(options) for label in item.labels)
    else:
        assert options == ()
        assert item.references
        assert all(item.references)


def answer_rightly(question: Question) -> Outcome:
    """A perfect model."""
    if not question.options:
        return Written(question, question.item.references[:1], (True,))
    return choose(question, question.item.labels[0])


def choose(question: Question, option: int) -> Chosen:
    scores = tuple(float(n == option) for n in range(len(question.options)))
    return Chosen(question, scores, (1,) * len(scores), scores)


def value(metric: str, outcomes: Sequence[Outcome]) -> float:
    units = METRICS[metric].units(outcomes)
    assert len({unit.id for unit in units}) == len(units)
    return float(METRICS[metric].value(np.sum([unit.parts for unit in units], axis=0)))


def question(label: int, options: int = 2, name: str = "", **fields: Any) -> Question:
    """A question as metrics see it."""
    item = Item(name or str(label), fields, labels=(label,))
    return Question(item, "p", 0, "text", tuple(f"option {n}" for n in range(options)), "d")


def guesses(questions: Sequence[Question], draw: Callable[[int], int]) -> list[Chosen]:
    return [choose(one, draw(len(one.options))) for one in questions]
