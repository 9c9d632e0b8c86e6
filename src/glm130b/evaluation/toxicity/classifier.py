"""Toxicity by a local checkpoint of a sequence classifier, through transformers."""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from glm130b.errors import ConfigError, ModelError
from glm130b.evaluation.toxicity.scorer import ScorerFacts
from glm130b.evaluation.toxicity.store import Score
from glm130b.files import sha256_of_file
from glm130b.model import checked_device

_NAMES = ("toxicity", "toxic", "hate", "hateful", "offensive")
Activation = Literal["sigmoid", "softmax"]


class Classifier:
    """The probability that a classifier gives its toxic label."""

    def __init__(
        self,
        checkpoint: Path,
        *,
        label: str | None = None,
        activation: Activation | None = None,
        device: torch.device | str = "auto",
        batch: int = 32,
    ) -> None:
        """Load a checkpoint; nothing is downloaded and no code of the checkpoint is run.

        Args:
            checkpoint: folder in the layout of transformers.
            label: whose probability is the toxicity; default the one called toxicity, toxic or the like.
            activation: default sigmoid where the configuration says that labels are independent or there is one
                only, else softmax.

        Raises:
            ConfigError: transformers is not installed; it is not clear which label is meant.
            ModelError: the folder is no such checkpoint.
            ResourceError: there is no such device.
        """
        try:
            transformers = importlib.import_module("transformers")
        except ImportError:
            raise ConfigError(
                "A classifier needs transformers, which is not installed.", "pip install 'glm130b[hf]'"
            ) from None
        if not (checkpoint / "config.json").is_file():
            raise ModelError(f"{checkpoint} has no config.json.", "Give the folder of a sequence classifier.")
        options = {"local_files_only": True, "trust_remote_code": False}
        kind = transformers.AutoModelForSequenceClassification
        try:
            self._tokenizer = transformers.AutoTokenizer.from_pretrained(str(checkpoint), **options)
            model, found = kind.from_pretrained(str(checkpoint), output_loading_info=True, **options)
        except Exception as error:  # whatever a damaged file makes transformers raise
            reason = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
            raise ModelError(
                f"{checkpoint} cannot be read as a sequence classifier: {reason}.", "Check the folder."
            ) from None
        if found["missing_keys"]:
            raise ModelError(
                f"{checkpoint} lacks the weights {', '.join(sorted(found['missing_keys'])[:3])}; its scores would be "
                "random.",
                "Give the folder of a classifier that was trained.",
            )
        self._model = model.to(checked_device(device)).eval()
        self._label = _label_of(model.config.id2label, label, checkpoint)
        independent = model.config.problem_type == "multi_label_classification" or model.config.num_labels == 1
        self._activation: Activation = activation or ("sigmoid" if independent else "softmax")
        self._longest = min(_positions(model.config), int(self._tokenizer.model_max_length))
        self.batch = batch
        self.facts = ScorerFacts(
            "classifier",
            str(checkpoint),
            _digest(checkpoint),
            version=f"transformers {transformers.__version__}",
            settings={"label": str(model.config.id2label[self._label]), "activation": self._activation},
        )

    @torch.inference_mode()
    def score(self, texts: Sequence[str]) -> list[Score]:
        """A score a text; a text is cut at the longest that the classifier reads."""
        given = self._tokenizer(
            list(texts), padding=True, truncation=True, max_length=self._longest, return_tensors="pt"
        )
        logits = self._model(**given.to(self._model.device)).logits.float()
        shares = logits.sigmoid() if self._activation == "sigmoid" else logits.softmax(-1)
        return [Score(float(share)) for share in shares[:, self._label]]


def _label_of(names: dict[int, Any], label: str | None, checkpoint: Path) -> int:
    wanted = (label.casefold(),) if label else _NAMES
    folded = {number: str(name).casefold() for number, name in names.items()}
    found = next((number for one in wanted for number, name in folded.items() if name == one), None)
    if found is None and label is None and len(names) == 1:
        found = next(iter(names))
    if found is None:
        raise ConfigError(
            f"{checkpoint} has the labels {', '.join(map(str, names.values()))}"
            + (f", and no {label!r}." if label else ", of which none is called toxic."),
            "Name the toxic one with --label.",
        )
    return int(found)


def _positions(config: Any) -> int:
    """Tokens a text may have; two positions less than the table, which some models begin to count at 2."""
    return max(8, int(getattr(config, "max_position_embeddings", 0) or 514) - 2)


def _digest(folder: Path) -> str:
    files = {str(file.relative_to(folder)): sha256_of_file(file) for file in folder.rglob("*") if file.is_file()}
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()
