"""Loss on documents kept out of training."""

from __future__ import annotations

import torch

from glm130b.config import RunConfig
from glm130b.corpus import Tokens
from glm130b.model import GLM
from glm130b.samples import Objective, SampleStream
from glm130b.tokenization import SpecialTokens
from glm130b.training.batch import micro_batches
from glm130b.training.forward import hidden_at_targets
from glm130b.training.loss import linear_cross_entropy

_SEED = 0
"""Not the run's: runs are compared on the same blanks."""


@torch.no_grad()
def heldout_loss(
    model: GLM,
    config: RunConfig,
    shards: dict[str, Tokens],
    special: SpecialTokens,
    *,
    sequences: int | None = None,
) -> dict[str, float]:
    """Mean over sequences of the mean cross-entropy of their targets, in nats.

    The same fixed sequences each time: for every source with at least one held-out piece and both
    objectives, the first ``sequences`` (default ``eval.sequences``) of the held-out stream.

    Returns:
        ``"<source>/<objective>"`` and ``"all"``, the mean of these; empty if nothing is held out.
    """
    device = model.word_embeddings.weight.device
    count = sequences or config.eval.sequences
    losses: dict[str, float] = {}
    objectives: tuple[Objective, ...] = ("mask", "gmask")
    for source, shard in shards.items():
        pieces = len(shard.pieces(config.data.text_length))
        if not pieces:
            continue
        for objective in objectives:
            stream = SampleStream(
                config.data, config.objective, {source: shard}, special, seed=_SEED, objective=objective
            )
            drawn = [stream[index] for index in range(min(count, pieces))]
            total = 0.0
            for batch in micro_batches(drawn, config.train.micro_batch_size, device=device):
                hidden = hidden_at_targets(model, batch, config.train)
                loss, _ = linear_cross_entropy(hidden, model.word_embeddings.weight, batch.targets, batch.weights)
                total += loss.item()
            losses[f"{source}/{objective}"] = total
    if losses:
        losses["all"] = sum(losses.values()) / len(losses)
    return losses
