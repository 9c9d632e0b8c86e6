"""How many parameters a configuration has."""

from __future__ import annotations

from math import prod

from glm130b.config import ModelConfig


def parameter_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Shape of every parameter by name."""
    H, I = config.hidden_size, config.ffn_size
    shapes: dict[str, tuple[int, ...]] = {"word_embeddings.weight": (config.vocab_size, H)}
    for n in range(config.num_layers):
        for name, rows, columns in (
            ("attention.query_key_value", 3 * H, H),
            ("attention.dense", H, H),
            ("mlp.dense_h_to_4h", 2 * I, H),
            ("mlp.dense_4h_to_h", H, I),
        ):
            shapes[f"layers.{n}.{name}.weight"] = (rows, columns)
            shapes[f"layers.{n}.{name}.bias"] = (rows,)
        for name in ("input_layernorm", "post_attention_layernorm"):
            shapes |= {f"layers.{n}.{name}.{leaf}": (H,) for leaf in ("weight", "bias")}
    return shapes | {f"final_layernorm.{leaf}": (H,) for leaf in ("weight", "bias")}


def parameter_count(config: ModelConfig) -> int:
    """Parameters of the whole model; the tied embedding counts once."""
    return sum(prod(shape) for shape in parameter_shapes(config).values())
