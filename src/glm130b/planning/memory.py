"""Bytes that a rank holds when it holds most: while the last micro-batches of a step are under way.

What FSDP2 and ``torch.distributed.pipelining`` hold was read in their source and measured (PyTorch 2.13): totals came
within a tenth on every layout tried. What lies outside of tensors (libraries, communication, fragmentation) is not
counted. A step of so few micro-batches that none has been through its backward pass when the last one begins holds
less.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import pairwise

from glm130b.config import Recompute, RunConfig
from glm130b.planning.activations import WIDTHS, Sizes, layer_bytes, shared_bytes
from glm130b.planning.balance import StageShape, stage_shapes, stages_on
from glm130b.planning.pipeline import in_flight, waiting
from glm130b.planning.size import count, end_shapes, layer_shapes

_LOGITS, _ROWS = 2**26, 256
"""Logits that the loss holds at once on a GPU, and the rows it takes at least; on a CPU it takes just these."""


@dataclass(frozen=True)
class Memory:
    """Bytes by kind.

    Attributes:
        masters: parameters in FP32, the rank's shard of them.
        optimizer: AdamW's two averages of the same shard, FP32.
        weights: parameters gathered, in the precision of the products; 0 where the masters are used themselves.
        gradients: FP32; whole where they are added up before they are reduced (ZeRO stages 0 and 1, and pipelines,
            which reduce at the end of a step whatever the stage), else the rank's shard.
        activations: kept for the backward passes of all micro-batches in flight.
        buffers: what passes between stages of a pipeline; PyTorch keeps it for every micro-batch of a step.
        working: the largest of what comes and goes: logits, a layer recomputed, a layer's gradients reduced.
    """

    masters: int
    optimizer: int
    weights: int
    gradients: int
    activations: int
    buffers: int
    working: int

    @property
    def total(self) -> int:
        """All of it."""
        return sum(getattr(self, field.name) for field in fields(self))


def stages_of(config: RunConfig, rank: int) -> list[StageShape]:
    """The stages on a rank of the pipeline, in the order of the model."""
    shapes = stage_shapes(config.model.num_layers, config.parallel)
    return [shapes[number] for number in stages_on(rank, config.parallel)]


def rank_parameters(config: RunConfig, rank: int, *, shards: int = 1) -> int:
    """Parameters on a rank of the pipeline, as one tensor-parallel rank holds them.

    Args:
        shards: data-parallel ranks that divide them; shares are padded to equal size.
    """
    model, tensor = config.model, config.parallel.tensor
    return sum(
        len(stage.layers) * count(layer_shapes(model, tensor), shards)
        + count(end_shapes(model, first=stage.first, last=stage.last, tensor=tensor), shards)
        for stage in stages_of(config, rank)
    )


def rank_memory(config: RunConfig, rank: int, num_micro_batches: int, *, gpu: bool) -> Memory:
    """The fullest moment of a rank of the pipeline.

    Args:
        num_micro_batches: of a step, padding included; see ``padded_micro_batches``.
        gpu: whether attention and loss are those of a GPU, or those of a CPU.
    """
    parallel, width = config.parallel, WIDTHS[config.train.precision]
    stages = stages_of(config, rank)
    held = rank_parameters(config, rank)
    share = rank_parameters(config, rank, shards=num_shards(config))
    adds_up = parallel.zero_stage < 2 or parallel.pipeline > 1
    activations = _activations(config, rank, stages, num_micro_batches, gpu=gpu)
    return Memory(
        masters=4 * share,
        optimizer=8 * share,
        weights=width * _gathered(config, stages, held) if is_sharded(config) else 0,
        gradients=4 * (held if adds_up else share),
        activations=activations,
        buffers=_buffers(config, stages, num_micro_batches),
        working=max(_working(config, stage, activations, gpu=gpu) for stage in stages),
    )


def checkpoint_copy(config: RunConfig, rank: int) -> int:
    """Bytes of main memory that a rank's share of a checkpoint is written from, while the training goes on."""
    return 12 * rank_parameters(config, rank, shards=num_shards(config)) if config.checkpoint.asynchronous else 0


def is_sharded(config: RunConfig) -> bool:
    """Whether parameters are gathered from FP32 masters (FSDP2), or are these themselves."""
    return config.train.precision != "fp32" or config.parallel.data > 1


def num_shards(config: RunConfig) -> int:
    """Data-parallel ranks that divide parameters and optimizer state among them."""
    return config.parallel.data if config.parallel.zero_stage else 1


def _gathered(config: RunConfig, stages: Sequence[StageShape], held: int) -> int:
    """Parameters gathered at once: all, or, at ZeRO stage 3 without a pipeline, two layers and the ends."""
    if config.parallel.zero_stage < 3 or config.parallel.pipeline > 1:
        return held
    away = max(0, sum(len(stage.layers) for stage in stages) - 2)
    return held - away * count(layer_shapes(config.model, config.parallel.tensor))


def _activations(config: RunConfig, rank: int, stages: Sequence[StageShape], num: int, *, gpu: bool) -> int:
    """Of all micro-batches in flight; those between the two halves of their backward pass are whole again."""
    total = 0
    flights, halfway = in_flight(config.parallel, rank, num), waiting(config.parallel, rank, num)
    for stage, flying, half in zip(stages, flights, halfway, strict=True):
        total += (flying - half) * _stage_activations(config, stage, config.train.recompute, gpu=gpu)
        total += half * _stage_activations(config, stage, "none", gpu=gpu)
    return total


def _stage_activations(config: RunConfig, stage: StageShape, recompute: Recompute, *, gpu: bool) -> int:
    """Of one micro-batch. What a stage has received lies in its buffer, not here; what it has made is kept."""
    sizes = Sizes.of(config, gpu=gpu)
    kept = len(stage.layers) * layer_bytes(config, recompute, gpu=gpu) + shared_bytes(config, gpu=gpu)
    if stage.first:
        kept += sizes.width * sizes.residual + (sizes.residual if config.model.hidden_dropout else 0)
    return kept


def _buffers(config: RunConfig, stages: Sequence[StageShape], num_micro_batches: int) -> int:
    """Hidden states that pass forwards, and their gradients that pass backwards."""
    if config.parallel.pipeline == 1:
        return 0
    passing = received = sum((not stage.first) + (not stage.last) for stage in stages)
    if config.parallel.schedule != "1f1b":
        # Where a rank has several stages, what was sent is kept as well; what stays on the rank is not sent.
        neighbours = sum(below.layers.stop == above.layers.start for below, above in pairwise(stages))
        passing += received - 2 * neighbours
    sizes = Sizes.of(config, gpu=False)
    return passing * num_micro_batches * sizes.width * sizes.residual


def _working(config: RunConfig, stage: StageShape, activations: int, *, gpu: bool) -> int:
    """The largest of: the loss; a layer's backward pass; the gradient of the embedding, made or reduced.

    The last two come when a micro-batch's activations are gone, and all of them.
    """
    model, tensor, sizes = config.model, config.parallel.tensor, Sizes.of(config, gpu=gpu)
    embedding = model.vocab_size * model.hidden_size
    backward = _backward_bytes(config, stage, sizes, gpu=gpu)
    if stage.first and stage.last:
        # The head's share of the embedding's gradient waits for the lookup's.
        backward += sizes.width * embedding // tensor
    candidates = [backward]
    if stage.last:
        candidates.append(_head_bytes(config, sizes, gpu=gpu))
    if stage.first:
        gone = _stage_activations(config, stage, config.train.recompute, gpu=gpu)
        candidates.append(sizes.width * (1 + 2 * stage.last) * embedding // tensor - gone)
    if is_sharded(config):
        ends = count(end_shapes(model, first=stage.first, last=stage.last, tensor=tensor))
        candidates.append(4 * ends + 4 * ends // num_shards(config) - activations)
    return max(candidates)


def _backward_bytes(config: RunConfig, stage: StageShape, sizes: Sizes, *, gpu: bool) -> int:
    """A layer computed again, the gradients of its tensors, and those of its parameters, reduced."""
    model, tensor = config.model, config.parallel.tensor
    again = layer_bytes(config, "none", gpu=gpu) - layer_bytes(config, config.train.recompute, gpu=gpu)
    inner, scores = 4 * sizes.width * sizes.inner, (8 + 2 * sizes.width) * sizes.scores
    total = again + 3 * sizes.width * sizes.whole + max(inner, scores)
    if is_sharded(config):
        total += (sizes.width + 4) * count(layer_shapes(model, tensor))
    if config.parallel.schedule == "zero_bubble" and config.parallel.pipeline > 1:
        # The gradients of all products wait until those of the weights are due.
        outputs = 5 * model.hidden_size + 2 * model.ffn_size
        total += len(stage.layers) * sizes.width * sizes.tokens * outputs // tensor
    return total


def _head_bytes(config: RunConfig, sizes: Sizes, *, gpu: bool) -> int:
    """Hidden states as if every place were a target, logits of a chunk, the gradient of the matrix."""
    words = config.model.vocab_size // config.parallel.tensor
    rows = min(sizes.tokens, max(_ROWS, _LOGITS // words) if gpu else _ROWS)
    logits = rows * words * (4 if sizes.width == 4 else 4 + 2 * sizes.width)
    gradient = 4 * words * config.model.hidden_size
    forward = logits + (gradient if sizes.width == 4 else gradient + gradient // 2)
    if config.parallel.schedule == "zero_bubble" and config.parallel.pipeline > 1:
        forward += gradient // 2  # of the micro-batch before, which waits
    return 3 * sizes.width * sizes.whole + max(forward, 2 * gradient)
