"""AdamW with the decay where it belongs."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from glm130b.config import OptimizerConfig
from glm130b.parallel import Held


def build_optimizer(held: Sequence[Held], config: OptimizerConfig) -> torch.optim.AdamW:
    """AdamW over what this rank holds; matrices decay, biases and norms do not. The rate is set at each step."""
    matrices = [part.local for part in held if len(part.shape) > 1]
    vectors = [part.local for part in held if len(part.shape) == 1]
    return torch.optim.AdamW(
        [
            {"params": matrices, "weight_decay": config.weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ],
        lr=0.0,
        betas=config.betas,
        eps=config.epsilon,
        fused=True,
    )


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Use ``rate`` for the next step."""
    for group in optimizer.param_groups:
        group["lr"] = rate
