"""How many parameters a configuration has, and how many of them one rank holds."""

from __future__ import annotations

from math import prod

from glm130b.config import ModelConfig


def parameter_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Shape of every parameter by name."""
    shapes: dict[str, tuple[int, ...]] = {"word_embeddings.weight": (config.vocab_size, config.hidden_size)}
    for n in range(config.num_layers):
        shapes |= {f"layers.{n}.{name}": shape for name, shape in layer_shapes(config).items()}
    return shapes | _norm_shapes("final_layernorm", config)


def parameter_count(config: ModelConfig) -> int:
    """Parameters of the whole model; the tied embedding counts once."""
    return count(parameter_shapes(config))


def layer_shapes(config: ModelConfig, tensor: int = 1) -> dict[str, tuple[int, ...]]:
    """Shape of every parameter of a layer, or of what each of ``tensor`` tensor-parallel ranks holds of it.

    The first matrix of each half (queries, keys and values; both halves of GeGLU) is cut by rows with its bias, the
    second by columns; norms and the second one's bias are held whole by every rank.
    """
    H, I = config.hidden_size, config.ffn_size
    shapes: dict[str, tuple[int, ...]] = {}
    for name, rows, columns, by_rows in (
        ("attention.query_key_value", 3 * H, H, True),
        ("attention.dense", H, H, False),
        ("mlp.dense_h_to_4h", 2 * I, H, True),
        ("mlp.dense_4h_to_h", H, I, False),
    ):
        shapes[f"{name}.weight"] = (rows // tensor, columns) if by_rows else (rows, columns // tensor)
        shapes[f"{name}.bias"] = (rows // tensor if by_rows else rows,)
    for name in ("input_layernorm", "post_attention_layernorm"):
        shapes |= _norm_shapes(name, config)
    return shapes


def end_shapes(config: ModelConfig, *, first: bool, last: bool, tensor: int = 1) -> dict[str, tuple[int, ...]]:
    """Shapes of what a stage holds besides its layers: the embedding at either end, the final norm at the last."""
    shapes: dict[str, tuple[int, ...]] = {}
    if first or last:
        shapes["word_embeddings.weight"] = (config.vocab_size // tensor, config.hidden_size)
    return shapes | (_norm_shapes("final_layernorm", config) if last else {})


def count(shapes: dict[str, tuple[int, ...]], shards: int = 1) -> int:
    """Entries of tensors of these shapes; or of one of ``shards`` equal shares of their rows, the last one padded."""
    return sum(-(-shape[0] // shards) * prod(shape[1:]) for shape in shapes.values())


def _norm_shapes(name: str, config: ModelConfig) -> dict[str, tuple[int, ...]]:
    return {f"{name}.{leaf}": (config.hidden_size,) for leaf in ("weight", "bias")}
