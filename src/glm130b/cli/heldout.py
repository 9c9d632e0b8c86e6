"""The held-out text of a run, as commands use it to measure models."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from glm130b.config import RunConfig, load_config
from glm130b.corpus import PreparedCorpus, open_prepared
from glm130b.errors import ModelError
from glm130b.interop import load
from glm130b.model import GLM
from glm130b.tokenization import Tokenizer
from glm130b.training import heldout_loss, heldout_losses, losses_of


@dataclass(frozen=True)
class Heldout:
    """What a run keeps out of training."""

    run: Path
    config: RunConfig
    corpus: PreparedCorpus

    def check_tokenizer(self, tokenizer: Tokenizer, model: Path) -> None:
        """Refuse a model that reads other ids.

        Raises:
            ModelError: its tokenizer is another.
        """
        if any(entry["tokenizer"] not in (None, tokenizer.fingerprint) for entry in self.corpus.entries.values()):
            raise ModelError(f"{model} has another tokenizer than {self.run}.", "Compare models of one tokenizer.")

    def loss(self, network: GLM, tokenizer: Tokenizer, sequences: int | None) -> dict[str, float]:
        """See ``training.heldout_loss``."""
        measured = losses_of(network, self.config.train.micro_batch_size)
        return heldout_loss(measured, self.config, self.corpus.heldout, tokenizer.special, sequences=sequences)

    def losses(self, model: Path, device: str) -> dict[str, list[float]]:
        """Of each sequence; see ``training.heldout_losses``. The model is loaded for it."""
        network, tokenizer = load(model, device=device)
        self.check_tokenizer(tokenizer, model)
        measured = losses_of(network, self.config.train.micro_batch_size)
        return heldout_losses(measured, self.config, self.corpus.heldout, tokenizer.special)


def open_heldout(run: Path) -> Heldout:
    """Open a run's configuration and token shards.

    Raises:
        ModelError: it is no run.
        ConfigError, DataError: a part of it is missing or damaged.
    """
    if run.exists() and not (run / "config.yaml").is_file():
        raise ModelError(f"{run} is no run: it has no config.yaml.", "Give a run, and any other model with --model.")
    config = load_config(run / "config.yaml").run
    return Heldout(run, config, open_prepared(run / "data", list(config.data.active_sources)))
