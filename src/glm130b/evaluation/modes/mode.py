"""What a mode is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from glm130b.errors import DataError
from glm130b.evaluation.encode import Encoder
from glm130b.evaluation.items import Answer, Outcome, Question, Request
from glm130b.evaluation.task import Attention, Task


@dataclass(frozen=True)
class Way:
    """How one mode goes.

    Attributes:
        ask: what a model is asked about a question; the same requests each time.
        outcome: what became of it, from these requests and the answers to them.
    """

    ask: Callable[[Task, Question, Attention, Encoder], list[Request]]
    outcome: Callable[[Task, Question, Sequence[Any], Sequence[Answer]], Outcome]


def text_field(task: Task, question: Question, name: str) -> str:
    """A text that items of this mode have.

    Raises:
        DataError: this one has not.
    """
    text = question.item.fields.get(name)
    if not isinstance(text, str):
        raise DataError(
            f"{task.name}, item {question.item.id}: {name!r} is no text, which mode {task.mode} needs.",
            "Choose another reader or mode.",
        )
    return text
