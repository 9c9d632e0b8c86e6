"""What several rooms' tests share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from glm130b.config import ModelConfig
from glm130b.interop import read_sat
from glm130b.model import GLM, build_model
from glm130b.model.storage import assign_tensors

torch.set_num_threads(2)

FIXTURES = Path(__file__).parent / "fixtures" / "sat-glm"
"""A copy of the part of the reference numbers that these tests need."""

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
    assign_tensors(model, read_sat(FIXTURES / "checkpoints" / "tp1").items(), "tp1")
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="session")
def reference() -> GLM:
    """The reference model in FP32 with FP16-rounded rotary frequencies."""
    return fixture_model()


@pytest.fixture(scope="session")
def manifest() -> dict[str, Any]:
    content: dict[str, Any] = json.loads((FIXTURES / "cases" / "manifest.json").read_text())
    return content


@pytest.fixture
def tiny() -> GLM:
    """A small random model whose every parameter moves the logits."""
    model = build_model(TINY, seed=1)
    generator = torch.Generator().manual_seed(2)
    for parameter in model.parameters():
        parameter.data.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
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
