"""Mode ``pair``: pseudo-log-likelihoods of two sentences, one masked token at a time (Nangia et al. 2020)."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from glm130b.errors import ConfigError, DataError
from glm130b.evaluation.encode import Encoder
from glm130b.evaluation.items import Answer, Choose, Compared, Question, Request
from glm130b.evaluation.modes.mode import Way, text_field
from glm130b.evaluation.task import Attention, Task


def _ask(task: Task, question: Question, attention: Attention, encoder: Encoder) -> list[Request]:
    """A request for each token of the first sentence, then for each of the second."""
    if attention == "unidirectional":
        raise ConfigError(
            f"{task.name}: pairs are compared by masked tokens, which unidirectional attention has not.",
            "Use bidirectional.",
        )
    requests: list[Request] = []
    for name in ("first", "second"):
        text = text_field(task, question, name)
        try:
            requests += encoder.each_masked(text, mask=task.mask)
        except DataError as error:
            raise DataError(f"{task.name}, item {question.item.id}: {error.problem}", error.next_step) from None
    return requests


def _outcome(task: Task, question: Question, requests: Sequence[Choose], answers: Sequence[Answer]) -> Compared:
    """Shared are the tokens that ``difflib`` finds in both, in order, as in the original code of CrowS-Pairs."""
    length = len(requests[0].text)
    ids = [request.options[0][0] for request in requests]
    values = tuple(answer.log_probs[0] for answer in answers)
    matcher = difflib.SequenceMatcher(None, ids[:length], ids[length:], autojunk=False)
    shared = [False] * len(ids)
    for block in matcher.get_matching_blocks():
        for n in range(block.size):
            shared[block.a + n] = shared[length + block.b + n] = True
    return Compared(
        question,
        first=values[:length],
        second=values[length:],
        first_shared=tuple(shared[:length]),
        second_shared=tuple(shared[length:]),
    )


WAY = Way(_ask, _outcome)
