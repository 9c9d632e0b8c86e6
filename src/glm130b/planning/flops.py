"""Floating-point operations of matrix products; a multiply and an add count two.

Only what the objective needs is counted: padding, hidden pairs of tokens, and logits at places with
nothing to predict cost a program time but are not work.
"""

from __future__ import annotations

from dataclasses import dataclass

from glm130b.config import ModelConfig


@dataclass(frozen=True)
class Work:
    """What a batch asks for.

    Attributes:
        tokens: real tokens.
        pairs: pairs (query, key) with the key visible to the query.
        targets: tokens to predict.
    """

    tokens: int
    pairs: int
    targets: int

    def __add__(self, other: Work) -> Work:
        return Work(self.tokens + other.tokens, self.pairs + other.pairs, self.targets + other.targets)


def forward_flops(config: ModelConfig, work: Work) -> int:
    """FLOPs of one forward pass: linear maps, attention scores and sums, and the output layer."""
    H = config.hidden_size
    linear = 2 * work.tokens * (4 * H * H + 3 * H * config.ffn_size)
    attention = 4 * work.pairs * H
    return config.num_layers * (linear + attention) + 2 * work.targets * H * config.vocab_size


def training_flops(config: ModelConfig, work: Work) -> int:
    """FLOPs of forward and backward pass, without any recomputation: three times the forward pass."""
    return 3 * forward_flops(config, work)
