"""Mode ``generate``: the model's best answer as text."""

from __future__ import annotations

from glm130b.evaluation.encode import Encoder
from glm130b.evaluation.items import Question, Request
from glm130b.evaluation.modes.mode import Way
from glm130b.evaluation.modes.sample import ask_draws, written
from glm130b.evaluation.task import Attention, Task


def _ask(task: Task, question: Question, attention: Attention, encoder: Encoder) -> list[Request]:
    return ask_draws(task, question, attention, encoder, [0])


WAY = Way(_ask, written)
