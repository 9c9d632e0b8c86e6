"""Mode ``choice``: which of the options is the most probable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from glm130b.errors import DataError
from glm130b.evaluation.encode import Encoder
from glm130b.evaluation.items import Answer, Choose, Chosen, Question, Request
from glm130b.evaluation.modes.mode import Way
from glm130b.evaluation.task import Attention, Task


def _ask(task: Task, question: Question, attention: Attention, encoder: Encoder) -> list[Request]:
    """The options after the question and, for ``pmi``, the very same ids after ``task.pmi_context``."""
    try:
        asked = encoder.choose(
            question.text, question.options, mask=task.mask, attention=attention, over_length=task.over_length
        )
    except DataError as error:
        raise DataError(f"{task.name}, item {question.item.id}: {error.problem}", error.next_step) from None
    if task.normalise != "pmi":
        return [asked]
    without = encoder.choose(task.pmi_context, question.options, mask=task.mask, attention=attention)
    return [asked, replace(without, options=asked.options)]


def _outcome(task: Task, question: Question, requests: Sequence[Choose], answers: Sequence[Answer]) -> Chosen:
    log_probs, lengths = answers[0].log_probs, tuple(map(len, requests[0].options))
    unconditional = answers[1].log_probs if task.normalise == "pmi" else ()
    if unconditional:
        scores = tuple(there - here for there, here in zip(log_probs, unconditional, strict=True))
    else:
        divisors = {
            "sum": [1] * len(lengths),
            "token": lengths,
            "char": [len(option) for option in question.options],
            "byte": [len(option.encode()) for option in question.options],
        }[task.normalise]
        scores = tuple(value / divisor for value, divisor in zip(log_probs, divisors, strict=True))
    return Chosen(question, log_probs, lengths, scores, unconditional, requests[0].cut)


WAY = Way(_ask, _outcome)
