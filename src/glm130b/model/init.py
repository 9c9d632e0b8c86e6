"""DeepNorm initialisation, each parameter from the run's seed and its own name."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from glm130b.config import ModelConfig
from glm130b.model.glm import GLM


def build_model(
    config: ModelConfig, *, seed: int, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
) -> GLM:
    """A freshly initialised model."""
    with torch.device("meta"):
        model = GLM(config)
    model = model.to_empty(device=device).to(dtype)
    init_parameters(model, seed)
    return model


def init_parameters(model: GLM, seed: int) -> None:
    """Overwrite every parameter; the values do not depend on the device or on the other parameters."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(initial_value(name, model.config, seed))


def initial_value(name: str, config: ModelConfig, seed: int) -> Tensor:
    """The whole FP32 tensor that parameter ``name`` starts from.

    Xavier-normal with the fans of the full matrix (of each half, for the two halves of GeGLU's first
    matrix); gain ``(2 N)^(-1/2)`` for the feed-forward, value and attention-output matrices and 1 for
    the others; biases 0; norms 1 and 0 (GLM-130B, section 2.1 and appendix).
    """
    H, I, V = config.hidden_size, config.ffn_size, config.vocab_size
    small = (2 * config.num_layers) ** -0.5
    kind, _, leaf = name.rpartition(".")
    if kind.endswith("layernorm"):
        return torch.ones(H) if leaf == "weight" else torch.zeros(H)
    if leaf == "bias":
        return torch.zeros({"query_key_value": 3 * H, "dense_h_to_4h": 2 * I}.get(kind.rpartition(".")[2], H))
    match kind.rpartition(".")[2]:
        case "word_embeddings":
            return _xavier_normal(name, seed, (V, H))
        case "query_key_value":
            weight = _xavier_normal(name, seed, (3 * H, H))
            by_head = weight.view(config.num_heads, 3, config.head_size, H)
            by_head[:, 2] *= small
            return weight
        case "dense":
            return _xavier_normal(name, seed, (H, H), small)
        case "dense_h_to_4h":
            return _xavier_normal(name, seed, (2 * I, H), small, fans=(I, H))
        case "dense_4h_to_h":
            return _xavier_normal(name, seed, (H, I), small)
    raise ValueError(f"no initial value is defined for parameter {name!r}")


def _xavier_normal(
    name: str, seed: int, shape: tuple[int, int], gain: float = 1.0, fans: tuple[int, int] | None = None
) -> Tensor:
    digest = hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=8).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)
    std = gain * (2.0 / sum(fans or shape)) ** 0.5
    return torch.randn(shape, generator=generator).mul_(std)
