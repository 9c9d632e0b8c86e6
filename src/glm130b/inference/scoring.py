"""How probable given texts are: choices, and windows of documents."""

from __future__ import annotations

import math
import sys

import torch
import torch.nn.functional as F

from glm130b.errors import DataError
from glm130b.inference.builders import ChoiceItem, Window
from glm130b.inference.context import pad_rows
from glm130b.model import GLM

_LARGEST_EXPONENT = math.log(sys.float_info.max)
_LOGITS_ROWS = 256
"""So many rows of logits are held at once."""


@torch.inference_mode()
def choice_log_probs(model: GLM, item: ChoiceItem) -> list[float]:
    """Sum, not mean, of the log-probabilities of each choice's tokens; softmax and sum are in FP32.

    The authors answer with the largest. A row longer than the model's length is scored all the same, as
    rotary positions allow.

    Raises:
        DataError: a choice holds an id that the model does not have.
    """
    if not all(0 <= token < model.config.vocab_size for choice in item.choices for token in choice):
        raise DataError(
            f"A choice holds an id outside 0 to {model.config.vocab_size - 1}.", "Use the model's own tokenizer."
        )
    columns = pad_rows([item], multiple=1, device=model.word_embeddings.weight.device)
    rows = sorted({row for choice in item.rows for row in choice})
    logits = model(*columns, rows=torch.tensor(rows, device=columns.device))
    log_probs = torch.log_softmax(logits.float(), dim=-1)
    place = {row: n for n, row in enumerate(rows)}
    return [
        float(log_probs[[place[row] for row in its_rows], choice].sum())
        for choice, its_rows in zip(item.choices, item.rows, strict=True)
    ]


@torch.inference_mode()
def window_loss(model: GLM, window: Window) -> float:
    """Summed cross-entropy of a window's counted targets, in FP32 and nats."""
    device = model.word_embeddings.weight.device
    columns = pad_rows([window], multiple=1, device=device)
    hidden = model.hidden_states(*columns)[0, window.first_counted :]
    targets = torch.tensor(window.targets[window.first_counted :], device=device)
    parts = zip(torch.split(hidden, _LOGITS_ROWS), torch.split(targets, _LOGITS_ROWS), strict=True)
    losses = [F.cross_entropy(model.logits(some).float(), wanted, reduction="sum") for some, wanted in parts]
    return float(torch.stack(losses).sum())


def perplexity(loss_sum: float, tokens: int) -> float:
    """Per token: exp(summed loss / number of tokens); infinite beyond what a float can hold."""
    mean = loss_sum / tokens
    return math.inf if mean >= _LARGEST_EXPONENT else math.exp(mean)


def official_perplexity(loss_sum: float, text: str) -> float:
    """The authors': exp of the summed loss per word, at most exp(20); a word is what lies between two spaces."""
    return math.exp(min(loss_sum / len(text.strip().split(" ")), 20.0))
