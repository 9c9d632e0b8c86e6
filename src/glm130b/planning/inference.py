"""What answering takes: bytes of weights, keys and values, and how fast a memory serves them.

A decoder that answers one text, or a few, reads all its weights for every token; products take less time than that.
So the time of a token is bytes over bandwidth.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Literal

from glm130b.config import ModelConfig
from glm130b.planning.inference_devices import Machine
from glm130b.planning.size import layer_shapes

_CUT_BY_COLUMNS = ("attention.dense.weight", "mlp.dense_4h_to_h.weight")


@dataclass(frozen=True)
class Precision:
    """How weights are stored.

    Attributes:
        bits: of the layers' matrices; None if they are not quantised.
        group_size: columns that share a scale; None for one scale a row.
        scale_shards: scales a row of matrices that tensor parallelism cuts by columns, if there are no groups.
        output_bits: of a quantised copy of the embedding for the output; None if there is none.
        float_bytes: of a value that is not quantised.
    """

    bits: Literal[8, 4] | None = None
    group_size: int | None = None
    scale_shards: int = 1
    output_bits: Literal[8, 4] | None = None
    float_bytes: int = 2

    def __str__(self) -> str:
        if self.bits is None:
            return {2: "16 bits", 4: "FP32"}[self.float_bytes]
        scales = f"in groups of {self.group_size}" if self.group_size else "by rows"
        return f"INT{self.bits} {scales}" + (f", output INT{self.output_bits}" if self.output_bits else "")


@dataclass(frozen=True)
class WeightBytes:
    """Bytes of a model's weights.

    Attributes:
        layer: each layer.
        num_layers: how many there are.
        embedding: rows are looked up in it; without a quantised copy it is the output matrix, too.
        output: the quantised copy; 0 if there is none.
        norm: the final one.
    """

    layer: int
    num_layers: int
    embedding: int
    output: int
    norm: int

    @classmethod
    def of(cls, config: ModelConfig, precision: Precision) -> WeightBytes:
        """Of a model stored so, to the byte.

        Raises:
            ValueError: columns do not divide into groups.
        """
        layer = sum(
            _matrix_bytes(name, *shape, precision) if len(shape) == 2 else precision.float_bytes * prod(shape)
            for name, shape in layer_shapes(config).items()
        )
        V, H = config.vocab_size, config.hidden_size
        output = 0 if precision.output_bits is None else V * H * precision.output_bits // 8 + 2 * V
        return cls(layer, config.num_layers, precision.float_bytes * V * H, output, precision.float_bytes * 2 * H)

    @property
    def ends(self) -> int:
        """All but the layers."""
        return self.embedding + self.output + self.norm

    @property
    def total(self) -> int:
        """All of it."""
        return self.num_layers * self.layer + self.ends

    @property
    def read(self) -> int:
        """What a step of decoding reads: all but, if the output has a matrix of its own, the embedding."""
        return self.total - (self.embedding if self.output else 0)


def _matrix_bytes(name: str, rows: int, columns: int, precision: Precision) -> int:
    if precision.bits is None:
        return precision.float_bytes * rows * columns
    scales = precision.scale_shards if name in _CUT_BY_COLUMNS else 1
    if precision.group_size is not None:
        if columns % precision.group_size:
            raise ValueError(f"{columns} columns of {name} do not divide into groups of {precision.group_size}")
        scales = columns // precision.group_size
    return rows * columns * precision.bits // 8 + 2 * rows * scales


def cache_bytes(config: ModelConfig, width: int) -> int:
    """Keys and values of one token of one text, ``width`` bytes a value."""
    return 2 * config.num_layers * config.hidden_size * width


def layers_on(weights: WeightBytes, count: int) -> list[int]:
    """Layers on each of ``count`` devices, of about as many bytes each; embedding and norm are on the first.

    The rule of ``model.device.spread``: a layer goes where its middle falls.
    """
    share = weights.total / count
    found = [0] * count
    for n in range(weights.num_layers):
        found[min(int((weights.ends + (n + 0.5) * weights.layer) / share), count - 1)] += 1
    return found


@dataclass(frozen=True)
class Answering:
    """How a machine answers.

    Attributes:
        weights, cache: bytes on the fullest device if all weights are placed.
        works: whether it does at all: two layers fit, and it is known how fast others would come.
        streamed: layers that do not fit and are brought in for every step of decoding.
        reading, bringing: seconds that a step takes, which makes a token for each text: for reading at the whole of
            the bandwidth, and for bringing in layers that are read as they come.
        longest: most tokens of each text that fit, context and answer together.
    """

    machine: Machine
    weights: int
    cache: int
    works: bool
    streamed: int
    reading: float
    bringing: float
    longest: int

    def tokens_per_second(self, batch: int, reached: float = 1.0) -> float:
        """Of all texts together, if so much of the bandwidth of the memory is reached."""
        return batch / (self.reading / reached + self.bringing) if self.works else 0.0


def answering(
    config: ModelConfig,
    weights: WeightBytes,
    machine: Machine,
    *,
    context: int,
    batch: int = 1,
    width: int = 2,
    reserve: int = 600_000_000,
) -> Answering:
    """What a machine does with texts of ``context`` tokens, what has been answered included.

    Devices of one machine work in turn, each on its layers. One alone can do with less memory than the weights take:
    two layers at a time, and as many more as fit stay.

    Args:
        batch: texts answered side by side.
        width: bytes of a key or value.
        reserve: bytes of each device for programs and activations.
    """
    room = machine.reader.memory - reserve
    per_layer = cache_bytes(config, width) // config.num_layers * batch
    held = layers_on(weights, machine.count)
    placed = [layers * weights.layer + (0 if n else weights.ends) for n, layers in enumerate(held)]
    caches = [layers * per_layer * context for layers in held]
    fullest = max(range(machine.count), key=lambda n: placed[n] + caches[n])
    read = weights.read + config.num_layers * per_layer * context
    longest = min((room - there) // (layers * per_layer) for there, layers in zip(placed, held, strict=True) if layers)
    works, streamed, brought, link = placed[fullest] + caches[fullest] <= room, 0, 0, machine.reader.link
    if not works and machine.count == 1 and link is not None:
        kept = (room - weights.ends - caches[0]) // weights.layer - 2
        works, streamed = kept >= 0, weights.num_layers - max(0, kept)
        brought = streamed * weights.layer
        longest = (room - weights.ends - 2 * weights.layer) // (config.num_layers * per_layer)
    return Answering(
        machine,
        placed[fullest],
        caches[fullest],
        works,
        streamed,
        reading=(read - brought) / machine.reader.bandwidth,
        bringing=brought / min(link or machine.reader.bandwidth, machine.reader.bandwidth),
        longest=max(0, longest),
    )
