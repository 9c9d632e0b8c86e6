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

    Selective recomputation repeats no matrix product. For an ordinary feed-forward of 4 H this is the formula of
    Narayanan et al. 2021 (appendix), 96 B S L H^2 (1 + S / 6H + V / 16LH); GeGLU with 8/3 H comes to the same.
    """
    return stage_flops(config, work, recompute, num_layers=config.num_layers, last=True)


def stage_flops(config: ModelConfig, work: Work, recompute: Recompute, *, num_layers: int, last: bool) -> int:
    """What ``hardware_flops`` counts for one stage of a pipeline."""
    passes = 4 if recompute == "full" else 3
    return passes * num_layers * layer_flops(config, work) + (3 * head_flops(config, work) if last else 0)
