"""Mode ``sample``: several answers, drawn."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from glm130b.errors import DataError
from glm130b.evaluation.encode import Encoder
from glm130b.evaluation.items import Answer, Question, Request, Write, Written
from glm130b.evaluation.modes.mode import Way
from glm130b.evaluation.task import Attention, Task


def ask_draws(
    task: Task, question: Question, attention: Attention, encoder: Encoder, draws: Iterable[int]
) -> list[Request]:
    """The answers of these numbers to one question."""
    try:
        asked = encoder.write(
            question.text, mask=task.mask, attention=attention, decode=task.decode, over_length=task.over_length
        )
    except DataError as error:
        raise DataError(f"{task.name}, item {question.item.id}: {error.problem}", error.next_step) from None
    return [replace(asked, draw=draw) for draw in draws]


def written(task: Task, question: Question, requests: Sequence[Write], answers: Sequence[Answer]) -> Written:
    """The answers' texts."""
    texts, ended = tuple(answer.text for answer in answers), tuple(answer.ended for answer in answers)
    return Written(question, texts, ended, requests[0].cut)


def _ask(task: Task, question: Question, attention: Attention, encoder: Encoder) -> list[Request]:
    return ask_draws(task, question, attention, encoder, range(1, task.decode.samples + 1))


WAY = Way(_ask, written)
