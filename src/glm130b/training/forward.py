"""The forward pass of training and of measuring, in the precision of the run."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from glm130b.config import TrainConfig
from glm130b.model import GLM
from glm130b.training.batch import MicroBatch


def hidden_at_targets(
    model: GLM, batch: MicroBatch, config: TrainConfig, dropout_seeds: Sequence[int] | None = None
) -> Tensor:
    """What the output layer is to see, ``[N, H]``, one row a target.

    With ``precision: bf16`` matrix products run under autocast and the rows come in BF16, so that the
    output layer's products do too; the residual branch stays in FP32.
    """
    device = model.word_embeddings.weight.device
    half = config.precision == "bf16"
    with torch.autocast(device.type, torch.bfloat16, enabled=half):
        hidden = model.hidden_states(*batch.inputs, dropout_seeds=dropout_seeds)
    rows = hidden.flatten(0, 1)[batch.rows]
    return rows.bfloat16() if half else rows
