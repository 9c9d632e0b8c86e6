"""What the demo measures beside the training itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from glm130b.config import RunConfig
from glm130b.corpus import PreparedCorpus
from glm130b.interop import describe, load, quantize_folder, resolve
from glm130b.training import heldout_loss, losses_of


@dataclass(frozen=True)
class Precision:
    """One copy of the model.

    Attributes:
        losses: held-out losses, as ``heldout_loss`` returns them.
        megabytes: of the weight files, 10^6 bytes.
    """

    name: str
    folder: Path
    losses: dict[str, float]
    megabytes: float


def precisions(out: Path, config: RunConfig, corpus: PreparedCorpus, device: str) -> Iterator[Precision]:
    """The trained model, then its INT8 and its INT4 copy (written to ``<out>/int8`` and ``<out>/int4``)."""
    trained = resolve(out)
    bits: Literal[8, 4]
    yield _measure("FP32", trained, config, corpus, device)
    for bits in (8, 4):
        folder = out / f"int{bits}"
        quantize_folder(trained, folder, bits)
        yield _measure(f"INT{bits}", folder, config, corpus, device)


def _measure(name: str, folder: Path, config: RunConfig, corpus: PreparedCorpus, device: str) -> Precision:
    model, tokenizer = load(folder, device=device)
    losses = heldout_loss(losses_of(model, config.train.micro_batch_size), config, corpus.heldout, tokenizer.special)
    weights = describe(folder).num_bytes
    return Precision(name, folder, losses, weights / 1e6)


def frequency_loss(corpus: PreparedCorpus, vocab_size: int) -> dict[str, float]:
    """Held-out cross-entropy, in nats, of guessing by how often each token is in the training text.

    For each source that has held-out text, with one added to every count.
    """
    losses = {}
    for name, heldout in corpus.heldout.items():
        if heldout.num_tokens:
            shards = corpus.train[name].shards
            counts = np.ones(vocab_size)
            for shard in shards:
                counts += np.bincount(shard.tokens, minlength=vocab_size)
            costs = -np.log(counts / counts.sum())
            losses[name] = float(np.concatenate([costs[shard.tokens] for shard in heldout.shards]).mean())
    return losses


@dataclass(frozen=True)
class LossRow:
    """Held-out loss of one source and objective.

    Attributes:
        hidden_by: the blank's token.
        frequencies: what ``frequency_loss`` gives; only beside [gMASK], whose targets are ordinary text.
    """

    source: str
    hidden_by: str
    before: float
    after: float
    frequencies: float | None


def loss_rows(before: dict[str, float], after: dict[str, float], frequencies: dict[str, float]) -> list[LossRow]:
    """The losses that are means of nothing else, in the order they were measured."""
    rows = []
    for name, loss in before.items():
        source, _, objective = name.partition("/")
        if objective:
            baseline = frequencies.get(source) if objective == "gmask" else None
            rows.append(LossRow(source, {"mask": "[MASK]", "gmask": "[gMASK]"}[objective], loss, after[name], baseline))
    return rows
