"""How probable given texts are: choices, and windows of documents."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence

import numpy as np
import torch

from glm130b.errors import DataError, ModelError
from glm130b.inference.builders import ChoiceItem, Window
from glm130b.inference.context import pad_rows
from glm130b.model import GLM

_LARGEST_EXPONENT = math.log(sys.float_info.max)
_LOGITS_ROWS = 256
"""So many rows of logits are held at once."""

_MULTIPLE = 32
"""Lengths on a GPU are rounded up to it, so that few kernels are compiled."""


@torch.inference_mode()
def score_choices(model: GLM, items: Sequence[ChoiceItem]) -> list[list[float]]:
    """Sum, not mean, of the log-probabilities of the tokens of each item's choices.

    The items are read side by side, padded to the longest; logits are computed only where a choice is read. The
    softmax is in FP32, the sums in FP64. A row longer than the model's length is scored all the same, as rotary
    positions allow.

    Raises:
        DataError: an item holds an id that the model does not have.
        ModelError: the logits are not finite numbers.
    """
    _check_ids(model, items)
    device = model.word_embeddings.weight.device
    columns = pad_rows(items, multiple=1 if device.type == "cpu" else _MULTIPLE, device=device)
    length = columns.shape[2]
    read = [n * length + row for n, item in enumerate(items) for rows in item.rows for row in rows]
    wanted = torch.tensor([token for item in items for choice in item.choices for token in choice])
    rows, place = (torch.from_numpy(found) for found in np.unique(read, return_inverse=True))
    hidden = model.hidden_states(*columns).flatten(0, 1)[rows.to(device)]
    log_probs = torch.empty(len(wanted))
    for start in range(0, len(rows), _LOGITS_ROWS):
        logits = model.logits(hidden[start : start + _LOGITS_ROWS]).float()
        here = ((place >= start) & (place < start + _LOGITS_ROWS)).nonzero()[:, 0]
        its_rows, its_tokens = (place[here] - start).to(device), wanted[here].to(device)
        log_probs[here] = (logits[its_rows, its_tokens] - logits.logsumexp(dim=-1)[its_rows]).cpu()
    if not log_probs.isfinite().all():
        raise ModelError(
            "The model's logits are not finite numbers.", "Compute in a wider type: --dtype fp32, or bf16 on a GPU."
        )
    parts = iter(torch.split(log_probs.double(), [len(choice) for item in items for choice in item.choices]))
    return [[float(next(parts).sum()) for _ in item.choices] for item in items]


def choice_log_probs(model: GLM, item: ChoiceItem) -> list[float]:
    """The scores of one item's choices, see ``score_choices``; the authors answer with the largest."""
    return score_choices(model, [item])[0]


def as_choice(window: Window) -> ChoiceItem:
    """A window as an item with one choice: the targets that count."""
    first = window.first_counted
    counted = [*range(first, len(window.targets))]
    return ChoiceItem(window.tokens, window.position_ids, window.branch, [window.targets[first:]], [counted])


def window_loss(model: GLM, window: Window) -> float:
    """Summed cross-entropy of a window's counted targets, in nats."""
    return -choice_log_probs(model, as_choice(window))[0]


def _check_ids(model: GLM, items: Sequence[ChoiceItem]) -> None:
    size = model.config.vocab_size
    for item in items:
        for what, ids in (("text", item.tokens), *(("choice", choice) for choice in item.choices)):
            if ids and not 0 <= min(ids) <= max(ids) < size:
                raise DataError(f"A {what} holds an id outside 0 to {size - 1}.", "Use the model's own tokenizer.")


def perplexity(loss_sum: float, tokens: int) -> float:
    """Per token: exp(summed loss / number of tokens); infinite beyond what a float can hold."""
    mean = loss_sum / tokens
    return math.inf if mean >= _LARGEST_EXPONENT else math.exp(mean)


def official_perplexity(loss_sum: float, text: str) -> float:
    """The authors': exp of the summed loss per word, at most exp(20); a word is what lies between two spaces."""
    return math.exp(min(loss_sum / len(text.strip().split(" ")), 20.0))
