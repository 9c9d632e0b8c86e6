"""Floating-point operations of matrix products; a multiply and an add count two.

Only what the objective needs is work: padding, hidden pairs of tokens, and logits at places with nothing to predict
cost a program time but are none.
"""

from __future__ import annotations

from dataclasses import dataclass

from glm130b.config import ModelConfig, Recompute


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

    @classmethod
    def full(cls, num_sequences: int, seq_length: int) -> Work:
        """At most: sequences without padding in which all tokens see one another and all are predicted."""
        tokens = num_sequences * seq_length
        return cls(tokens, tokens * seq_length, tokens)

    def __add__(self, other: Work) -> Work:
        return Work(self.tokens + other.tokens, self.pairs + other.pairs, self.targets + other.targets)


def layer_flops(config: ModelConfig, work: Work) -> int:
    """FLOPs of one layer's forward pass: linear maps, attention scores and sums."""
    H = config.hidden_size
    return 2 * work.tokens * (4 * H * H + 3 * H * config.ffn_size) + 4 * work.pairs * H


def head_flops(config: ModelConfig, work: Work) -> int:
    """FLOPs of the output layer's forward pass."""
    return 2 * work.targets * config.hidden_size * config.vocab_size


def forward_flops(config: ModelConfig, work: Work) -> int:
    """FLOPs of one forward pass."""
    return config.num_layers * layer_flops(config, work) + head_flops(config, work)


def training_flops(config: ModelConfig, work: Work) -> int:
    """FLOPs of forward and backward pass, without any recomputation: three times the forward pass."""
    return 3 * forward_flops(config, work)


def hardware_flops(config: ModelConfig, work: Work, recompute: Recompute) -> int:
    """FLOPs that are computed for ``training_flops``: with full recomputation, each layer's forward pass once more.

    As in Narayanan et al. 2021 (appendix), whose 96 B S L H^2 (1 + S / 6H + V / 16LH) comes out for GeGLU with 8/3 H
    as it does for a feed-forward of 4 H. Two things are less. Selective recomputation repeats no matrix product. And
    full recomputation ends at the last tensor that is wanted: without dropout behind it, the product that ends a
    layer is not repeated.
    """
    return stage_flops(config, work, recompute, num_layers=config.num_layers, last=True)


def stage_flops(config: ModelConfig, work: Work, recompute: Recompute, *, num_layers: int, last: bool) -> int:
    """What ``hardware_flops`` counts for one stage of a pipeline."""
    layer = layer_flops(config, work)
    spared = 0 if config.hidden_dropout else 2 * work.tokens * config.hidden_size * config.ffn_size
    again = layer - spared if recompute == "full" else 0
    return num_layers * (3 * layer + again) + (3 * head_flops(config, work) if last else 0)
