"""Mode ``lm``: how well a document is predicted."""

from __future__ import annotations

from collections.abc import Sequence

from glm130b.evaluation.encode import Encoder
from glm130b.evaluation.items import Answer, Predict, Predicted, Question, Request
from glm130b.evaluation.modes.mode import Way, text_field
from glm130b.evaluation.task import Attention, Task


def _ask(task: Task, question: Question, attention: Attention, encoder: Encoder) -> list[Request]:
    assert task.window is not None
    assert task.scored is not None
    text = text_field(task, question, "text")
    return [*encoder.windows(text, window=task.window, scored=task.scored, mask=task.mask, attention=attention)]


def _outcome(task: Task, question: Question, requests: Sequence[Predict], answers: Sequence[Answer]) -> Predicted:
    """Words are, as in the authors' code, what lies between single blanks of the stripped text."""
    text = text_field(task, question, "text")
    return Predicted(
        question,
        nats=-sum(answer.log_probs[0] for answer in answers),
        tokens=sum(request.counted for request in requests),
        words=len(text.strip().split(" ")),
        bytes=len(text.encode()),
        windows=tuple((-answer.log_probs[0], asked.counted) for asked, answer in zip(requests, answers, strict=True)),
    )


WAY = Way(_ask, _outcome)
