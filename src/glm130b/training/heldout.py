"""Loss on documents kept out of training."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from glm130b.config import RunConfig
from glm130b.corpus import Tokens
from glm130b.model import GLM
from glm130b.parallel import Head, Stage
from glm130b.samples import Objective, SampleStream
from glm130b.samples import Sequence as PackedSequence
from glm130b.tokenization import SpecialTokens
from glm130b.training.batch import Weighting, micro_batches
from glm130b.training.loss import linear_cross_entropy

Losses = Callable[[Sequence[PackedSequence]], list[float]]
"""Mean cross-entropy of the targets of each sequence."""

_SEED = 0
"""Not the run's: runs are compared on the same blanks."""

_LOGITS_ROWS = 256
"""So many rows of logits are held at once."""


def losses_of(model: GLM, micro_batch_size: int) -> Losses:
    """Measure a model that lies on one device."""
    own_output = model.output is not None or model.activation_dtype is not None
    head = _head_of(model) if own_output else linear_cross_entropy
    stage = Stage(model, range(model.config.num_layers), head)
    device = model.word_embeddings.weight.device

    @torch.no_grad()
    def losses(sequences: Sequence[PackedSequence]) -> list[float]:
        training = stage.training
        stage.eval()
        sizes = [min(micro_batch_size, len(sequences) - start) for start in range(0, len(sequences), micro_batch_size)]
        length = len(sequences[0].tokens)
        found: list[float] = []
        for batch in micro_batches(
            sequences, [0] * len(sequences), Weighting(1), sizes=sizes, seq_length=length, device=device
        ):
            found += stage(batch.tokens, **batch.arguments).tolist()
        stage.train(training)
        return found

    return losses


def _head_of(model: GLM) -> Head:
    """Cross-entropy of the logits that the model itself computes: its output may not be the embedding."""

    def head(hidden: Tensor, _: Tensor, targets: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        parts = zip(torch.split(hidden, _LOGITS_ROWS), torch.split(targets, _LOGITS_ROWS), strict=True)
        by_part = [F.cross_entropy(model.logits(some).float(), wanted, reduction="none") for some, wanted in parts]
        losses = torch.cat(by_part)
        return (losses * weights).sum(), losses

    return head


def heldout_loss(
    losses: Losses,
    config: RunConfig,
    shards: dict[str, Tokens],
    special: SpecialTokens,
    *,
    sequences: int | None = None,
) -> dict[str, float]:
    """Mean over sequences of the mean cross-entropy of their targets, in nats; see ``heldout_losses``.

    Returns:
        ``"<source>/<objective>"`` and ``"all"``, the mean of these; empty if nothing is held out.
    """
    by_sequence = heldout_losses(losses, config, shards, special, sequences=sequences)
    found = {name: sum(values) / len(values) for name, values in by_sequence.items()}
    if found:
        found["all"] = sum(found.values()) / len(found)
    return found


def heldout_losses(
    losses: Losses,
    config: RunConfig,
    shards: dict[str, Tokens],
    special: SpecialTokens,
    *,
    sequences: int | None = None,
) -> dict[str, list[float]]:
    """Mean cross-entropy, in nats, of the targets of each held-out sequence.

    The same fixed sequences each time: for every source with at least one held-out piece and both
    objectives, the first ``sequences`` (default ``eval.sequences``) of the held-out stream.

    Returns:
        Lists by ``"<source>/<objective>"``; empty if nothing is held out.
    """
    count = sequences or config.eval.sequences
    found: dict[str, list[float]] = {}
    objectives: tuple[Objective, ...] = ("mask", "gmask")
    for source, shard in shards.items():
        pieces = len(shard.pieces(config.data.text_length))
        if not pieces:
            continue
        for objective in objectives:
            stream = SampleStream(
                config.data, config.objective, {source: shard}, special, seed=_SEED, objective=objective
            )
            found[f"{source}/{objective}"] = losses([stream[index] for index in range(min(count, pieces))])
    return found
