"""Whether greedy decoding would write an option: what the harness calls ``is_greedy``."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch

from glm130b.evaluation.items import Answer, Choose
from glm130b.evaluation.rows import answer_from, packed, rows_of
from glm130b.inference import ChoiceItem, pad_rows
from glm130b.model import GLM
from glm130b.tokenization import SpecialTokens

_LOG_HALF = math.log(0.5)
_MARGIN = 1e-3
"""Of log-probabilities; far more than rounding."""


def greedy_options(
    model: GLM, special: SpecialTokens, requests: Sequence[Choose], answers: Sequence[Answer], batch_tokens: int
) -> list[list[bool]]:
    """Of each request's options, whether each token is the most probable of the vocabulary where it stands.

    What the log-probabilities decide is not asked again. What they leave open costs another reading of the text.

    Args:
        answers: to the requests.
        batch_tokens: read side by side, at most, unless one row has more.
    """
    found = [decided(request.options, answer.log_probs) for request, answer in zip(requests, answers, strict=True)]
    open_options = [[n for n, greedy in enumerate(these) if greedy is None] for these in found]
    asked = [number for number, options in enumerate(open_options) if options]
    length = model.config.max_sequence_length
    parts = [
        replace(requests[number], options=tuple(requests[number].options[n] for n in open_options[number]))
        for number in asked
    ]
    rows = [row for part in parts for row in rows_of(part, special, length)]
    flags: Iterator[list[bool]] = iter(
        [
            greedy
            for batch in packed([(1, len(row.tokens)) for row in rows], batch_tokens)
            for greedy in _paths(model, [rows[n] for n in batch])
        ]
    )
    for number, part in zip(asked, parts, strict=True):
        greedy = answer_from(part, flags, length).log_probs
        for n, flag in zip(open_options[number], greedy, strict=True):
            found[number][n] = bool(flag)
    return [[bool(greedy) for greedy in these] for these in found]


def decided(options: Sequence[tuple[int, ...]], log_probs: Sequence[float]) -> list[bool | None]:
    """What log-probabilities alone say; None where they leave it open.

    An option of more than one half has no token of less, so none that another beats. An option of one token is
    beaten by one that begins otherwise and has more.
    """
    found: list[bool | None] = []
    for option, value in zip(options, log_probs, strict=True):
        beaten = len(option) == 1 and any(
            other[0] != option[0] and rival > value + _MARGIN for other, rival in zip(options, log_probs, strict=True)
        )
        found.append(True if value > _LOG_HALF + _MARGIN else False if beaten else None)
    return found


@torch.inference_mode()
def _paths(model: GLM, items: Sequence[ChoiceItem]) -> list[list[bool]]:
    """Of each item's choices, whether each token has the largest logit of its row."""
    columns = pad_rows(items, device=model.word_embeddings.weight.device)
    hidden = model.hidden_states(*columns)
    found = []
    for n, item in enumerate(items):
        read = sorted({row for rows in item.rows for row in rows})
        best = dict(zip(read, model.logits(hidden[n, read]).argmax(dim=-1).tolist(), strict=True))
        found.append(
            [
                all(best[row] == token for row, token in zip(rows, choice, strict=True))
                for rows, choice in zip(item.rows, item.choices, strict=True)
            ]
        )
    return found
