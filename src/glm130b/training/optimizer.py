"""AdamW with the decay where it belongs."""

from __future__ import annotations

import torch
from torch import Tensor

from glm130b.config import OptimizerConfig
from glm130b.model import GLM


def build_optimizer(model: GLM, config: OptimizerConfig) -> torch.optim.AdamW:
    """AdamW over all parameters; matrices decay, biases and norms do not. The rate is set at each step."""
    matrices = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    vectors = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
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


def moments(model: GLM, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """AdamW's running averages by ``<kind>.<parameter>``; empty before the first step."""
    return {
        f"{kind}.{name}": optimizer.state[parameter][kind]
        for name, parameter in model.named_parameters()
        if parameter in optimizer.state
        for kind in ("exp_avg", "exp_avg_sq")
    }


def restore_moments(model: GLM, optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor], step: int) -> None:
    """Undo ``moments``: put the averages back as they were after ``step`` steps.

    Raises:
        KeyError: an average is missing.
    """
    for name, parameter in model.named_parameters():
        optimizer.state[parameter] = {
            "step": torch.tensor(float(step), dtype=torch.float32, device=parameter.device),
            **{
                kind: torch.empty_like(parameter).copy_(tensors[f"{kind}.{name}"]) for kind in ("exp_avg", "exp_avg_sq")
            },
        }
