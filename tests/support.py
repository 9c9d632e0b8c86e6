"""What several rooms' tests share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from glm130b.config import MergedConfig, ModelConfig, load_config
from glm130b.interop import read_sat
from glm130b.model import GLM
from glm130b.model.storage import assign_tensors
from glm130b.tokenization import SpecialTokens

_BESIDE = Path(__file__).parents[2] / "shared" / "fixtures" / "sat-glm"
_INSIDE = Path(__file__).parent / "fixtures" / "sat-glm"

FIXTURES = _BESIDE if _BESIDE.is_dir() else _INSIDE
"""Numbers made by the authors' own code: all of them where they lie beside the project, else a small copy."""

MANIFEST: dict[str, Any] = json.loads((FIXTURES / "cases" / "manifest.json").read_text())
GENERATION: dict[str, Any] = json.loads((FIXTURES / "generation" / "generation.json").read_text())
SPECIAL = SpecialTokens(
    **{
        name.strip("[]").lower(): token
        for name, token in json.loads((FIXTURES / "config.json").read_text())["special_tokens"].items()
    }
)
"""Of the reference numbers' toy vocabulary."""

TINY_SPECIAL = SpecialTokens(mask=56, gmask=57, smask=58, eod=59, sop=60, eop=61, enc=62, dblock=63, eos=2)
"""Of ``TINY``'s vocabulary."""

FIXTURE_CONFIG = str(FIXTURES / "config.json")

TINY = ModelConfig(num_layers=3, hidden_size=32, num_heads=4, ffn_size=48, vocab_size=64, max_sequence_length=64)


def fixture_config(rope_frequencies: str = "fp16") -> ModelConfig:
    """The toy model of the reference numbers."""
    sizes = json.loads((FIXTURES / "config.json").read_text())["model"]
    return ModelConfig(
        num_layers=sizes["num_layers"],
        hidden_size=sizes["hidden_size"],
        num_heads=sizes["num_attention_heads"],
        ffn_size=sizes["inner_hidden_size"],
        vocab_size=sizes["vocab_size"],
        max_sequence_length=sizes["max_sequence_length"],
        rope_frequencies=rope_frequencies,  # type: ignore[arg-type]
    )


def fixture_model(rope_frequencies: str = "fp16") -> GLM:
    with torch.device("meta"):
        model = GLM(fixture_config(rope_frequencies))
    assign_tensors(model, read_sat(FIXTURES / "checkpoints" / "tp1", FIXTURE_CONFIG).items(), "tp1")
    return model.eval().requires_grad_(False)


def load_case(name: str) -> dict[str, np.ndarray]:
    with np.load(FIXTURES / "cases" / f"{name}.npz") as content:
        return dict(content)


def branches(hidden: np.ndarray, valid: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Sample and branch of each token, read off a dense mask ``[B, S, S]`` (True = hidden)."""
    sample = np.where(valid, 0, -1)
    branch = np.zeros(valid.shape, dtype=np.int64)
    for b in range(len(valid)):
        for i in np.flatnonzero(valid[b]):
            if hidden[b, 0, i]:
                seen = [j for j in range(i + 1) if not hidden[b, i, j] and hidden[b, 0, j]]
                branch[b, i] = seen[0]
    return torch.from_numpy(sample), torch.from_numpy(branch)


SHRINK = [
    "model.num_layers=2",
    "model.hidden_size=32",
    "model.num_heads=2",
    "model.ffn_size=48",
    "data.seq_length=64",
    "train.batch={end: 4}",
    "train.micro_batch_size=3",
    "train.learning_rate={peak: 3e-3, initial: 1e-5, minimum: 3e-4, warmup: 5%}",
    "train.total=400 samples",
    "checkpoint.every_steps=3",
    "eval.every_steps=0",
]


def small_config(*overrides: str) -> MergedConfig:
    return load_config("tiny", [*SHRINK, *overrides])
