"""What one micro-batch leaves for the backward pass, derived from what the model saves.

In the manner of Korthikanti et al. 2022 ("Reducing Activation Recomputation in Large Transformer Models", section 4),
for this model: DeepNorm, GeGLU, attention that does not keep its probabilities, and PyTorch's tensor parallelism,
which under sequence parallelism keeps the gathered inputs of a layer's first matrices. Tensors are counted as eager
PyTorch saves them; a compiler may keep fewer.
"""

from __future__ import annotations

from dataclasses import dataclass

from glm130b.config import Recompute, RunConfig

WIDTHS = {"fp32": 4, "bf16": 2, "fp16": 2}
"""Bytes of a number in the precision of the matrix products."""

_FLEX_FROM = 1024
"""Length from which FlexAttention is used on GPUs; see ``model/attention.py``."""


@dataclass(frozen=True)
class Sizes:
    """Numbers in the tensors of one micro-batch on one rank: B sequences, S tokens, t tensor-parallel ranks.

    Attributes:
        width: bytes of each.
        tokens: B S.
        residual: B S H between the linear maps, divided by t under sequence parallelism.
        whole: B S H, as the first matrices see it.
        heads: B S H / t, of a layer's queries, for example.
        inner: B S I / t, of either half of GeGLU.
        scores: B h S S / t if attention holds them (dropout on the probabilities), else 0.
        mask: B S S if attention goes over a dense mask, else 0.
        sums: B h S / t, one number a head and token.
    """

    width: int
    tokens: int
    residual: int
    whole: int
    heads: int
    inner: int
    scores: int
    mask: int
    sums: int

    @classmethod
    def of(cls, config: RunConfig, *, gpu: bool) -> Sizes:
        """The sizes of a run, with the attention of a GPU or of a CPU."""
        model, tensor, length = config.model, config.parallel.tensor, config.data.seq_length
        tokens = sequences_at_once(config) * length
        whole = tokens * model.hidden_size
        sums = tokens * model.num_heads // tensor
        dense = model.attention_dropout > 0 or (gpu and length < _FLEX_FROM)
        return cls(
            width=WIDTHS[config.train.precision],
            tokens=tokens,
            residual=whole // tensor if config.parallel.sequence else whole,
            whole=whole,
            heads=whole // tensor,
            inner=tokens * model.ffn_size // tensor,
            scores=sums * length if model.attention_dropout else 0,
            mask=tokens * length if dense else 0,
            sums=sums,
        )


def sequences_at_once(config: RunConfig) -> int:
    """Sequences of the largest micro-batch that occurs; in a pipeline all are filled up to their full size."""
    size, parallel = config.train.micro_batch_size, config.parallel
    return size if parallel.pipeline > 1 else min(size, -(-config.train.batch.end // parallel.data))


def layer_bytes(config: RunConfig, recompute: Recompute, *, gpu: bool) -> int:
    """What one layer keeps of one micro-batch, its input included."""
    sizes = Sizes.of(config, gpu=gpu)
    if recompute == "full":
        return sizes.width * sizes.residual
    numbers = 2 * sizes.residual + 2 * sizes.whole  # what goes into the norms, and what comes out
    numbers += 4 * sizes.heads  # queries, keys, values; the attention's result
    numbers += (2 if recompute == "selective" else 4) * sizes.inner  # both halves; activated gate, product
    if sizes.width < 4:
        numbers += sizes.tokens * config.model.head_size  # this layer's copy of the rotary tables
    statistics = 4 * sizes.tokens * (4 if gpu else sizes.width)  # of the norms
    dropped = 2 * sizes.residual if config.model.hidden_dropout else 0  # a byte each
    return sizes.width * numbers + statistics + dropped + _attention_bytes(sizes, gpu=gpu)


def shared_bytes(config: RunConfig, *, gpu: bool) -> int:
    """What the layers of a stage keep in common of one micro-batch: ids, rotary tables, a dense mask."""
    sizes = Sizes.of(config, gpu=gpu)
    return (4 * 8 + 4 * config.model.head_size) * sizes.tokens + sizes.mask


def _attention_bytes(sizes: Sizes, *, gpu: bool) -> int:
    """What attention keeps besides queries, keys, values and its result."""
    if sizes.scores:  # scaled queries; FP32 probabilities, which were dropped, what is left; the mask inverted
        return sizes.width * sizes.heads + (4 + 1 + sizes.width) * sizes.scores + sizes.mask
    # FP32 sums; FlexAttention's result is kept in its own layout besides.
    return 4 * sizes.sums + (sizes.width * sizes.heads if gpu else 0)
