"""The model that every system runs: its sizes and its random weights. Needs NumPy alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np


@dataclass(frozen=True)
class Shape:
    """Sizes of a transformer with a gated feed-forward network and full attention."""

    layers: int = 16
    hidden: int = 2048
    ffn: int = 5632
    heads: int = 16
    vocabulary: int = 32000
    length: int = 1024
    """Most tokens of a text."""

    @property
    def name(self) -> str:
        """Of the folder in which files of this shape are kept."""
        return "-".join(f"{key}{value}" for key, value in asdict(self).items())

    @property
    def linear_parameters(self) -> int:
        """Of the layers' linear maps and the output matrix: what is read for each token."""
        return self.layers * (4 * self.hidden**2 + 3 * self.hidden * self.ffn) + self.vocabulary * self.hidden

    def matrices(self) -> dict[str, tuple[int, int]]:
        """Linear maps of a LLaMA layer, ``[outputs, inputs]``."""
        square, wide = (self.hidden, self.hidden), (self.ffn, self.hidden)
        maps = {"q": square, "k": square, "v": square, "o": square}
        return maps | {"gate": wide, "up": wide, "down": (self.hidden, self.ffn)}


class RandomValues:
    """Normal FP16 values: stretches of one random vector, begun at a place that follows from the name."""

    def __init__(self, scale: float = 0.02) -> None:
        values = np.random.default_rng(0).standard_normal((1 << 22) + 997, np.float32)
        self._values = (values * scale).astype(np.float16)

    def __call__(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        start, count = sum(name.encode()) * 7919 % 997, int(np.prod(shape))
        return np.resize(np.roll(self._values, -start), count).reshape(shape)


def prompt(shape: Shape, count: int) -> list[int]:
    """Any ``count`` tokens."""
    return [(7919 * place + 5) % shape.vocabulary for place in range(count)]


def llama_tensors(shape: Shape) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes of a LLaMA model's tensors in GGUF."""
    names = {"q": "attn_q", "k": "attn_k", "v": "attn_v", "o": "attn_output"}
    names |= {"gate": "ffn_gate", "up": "ffn_up", "down": "ffn_down"}
    yield "token_embd", (shape.vocabulary, shape.hidden)
    for layer in range(shape.layers):
        yield f"blk.{layer}.attn_norm", (shape.hidden,)
        for name, size in shape.matrices().items():
            yield f"blk.{layer}.{names[name]}", size
        yield f"blk.{layer}.ffn_norm", (shape.hidden,)
    yield "output_norm", (shape.hidden,)
    yield "output", (shape.vocabulary, shape.hidden)
