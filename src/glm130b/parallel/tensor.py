"""Tensor parallelism: a stage's linear maps and its embedding divided over the ranks of one mesh axis.

Heads and feed-forward are split by PyTorch's own styles, whose modules take and give plain tensors here. The
expanding matrix of GeGLU is the one that is not cut in one piece: a rank holds a stretch of either half, one after
the other, so that it can multiply them by itself. ``cut`` says for every parameter which rectangles a rank holds.
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Partial, Placement, Replicate, Shard, distribute_tensor
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    ParallelStyle,
    RowwiseParallel,
    SequenceParallel,
    parallelize_module,
)

from glm130b.config import ModelConfig
from glm130b.errors import ConfigError
from glm130b.model import LINEAR_NAMES, Region, is_cut_by_columns
from glm130b.parallel.mesh import Mesh
from glm130b.parallel.stage import Stage


class VocabularyParallel(ParallelStyle):
    """Divides an embedding by rows and has each rank look up just the words it holds.

    PyTorch's row-wise style does the same, but its backward pass makes the gradient of the whole vocabulary on
    every rank.

    Args:
        rank: this rank's place among those that divide it.
        output: how they are to hold what comes out.
    """

    def __init__(self, rank: int, output: Placement) -> None:
        super().__init__()
        self.rank, self.output = rank, output

    def _apply(self, module: nn.Module, device_mesh: DeviceMesh) -> nn.Module:
        whole: Any = module.weight
        module.register_parameter("weight", nn.Parameter(distribute_tensor(whole, device_mesh, [Shard(0)])))

        def look_up(tokens_BS: Tensor) -> Tensor:
            weight: Any = module.weight
            local_VH = weight.to_local()
            index_BS = tokens_BS - self.rank * len(local_VH)
            here_BS = (index_BS >= 0) & (index_BS < len(local_VH))
            found_BSH = F.embedding(index_BS.where(here_BS, 0), local_VH) * here_BS[..., None]
            parts = DTensor.from_local(found_BSH, device_mesh, [Partial()], run_check=False)
            return parts.redistribute(placements=[self.output]).to_local()

        module.forward = look_up
        return module


def check_divides(config: ModelConfig, degree: int, seq_length: int | None = None) -> None:
    """Refuse a tensor-parallel degree that does not divide what is split.

    Args:
        seq_length: given if the sequence is split too.

    Raises:
        ConfigError: names what does not divide.
    """
    split = {
        "model.num_heads": config.num_heads,
        "model.ffn_size": config.ffn_size,
        "model.vocab_size": config.vocab_size,
    }
    if seq_length is not None:
        split["data.seq_length"] = seq_length
    for name, size in split.items():
        if size % degree:
            raise ConfigError(
                f"parallel.tensor {degree} does not divide {name} {size}.",
                f"Choose a divisor of {', '.join(list(split)[:-1])} and {list(split)[-1]}.",
            )


def cut(name: str, shape: tuple[int, ...], rank: int, degree: int) -> list[Region]:
    """The rectangles of parameter ``name`` that a tensor-parallel rank holds, in the order it holds them."""
    whole = Region.whole(shape)
    if name == "word_embeddings.weight" or "query_key_value" in name:
        return [_rows(whole, 0, shape[0], rank, degree)]
    if "dense_h_to_4h" in name:
        half = shape[0] // 2
        return [_rows(whole, start, half, rank, degree) for start in (0, half)]
    if is_cut_by_columns(name) and whole.columns is not None:
        width = shape[1] // degree
        return [Region(whole.rows, (rank * width, (rank + 1) * width))]
    return [whole]


def is_replicated(name: str) -> bool:
    """Whether every tensor-parallel rank holds all of a parameter."""
    kind, _, leaf = name.rpartition(".")
    return "layernorm" in name or (leaf == "bias" and is_cut_by_columns(kind))


def _rows(whole: Region, start: int, size: int, rank: int, degree: int) -> Region:
    step = size // degree
    return whole.take_rows(start + rank * step, start + (rank + 1) * step)


def place_tensor_parallel(stage: Stage, mesh: Mesh) -> None:
    """Divide a stage, still on the meta device; the parameters that are split become DTensors.

    With ``parallel.sequence`` what lies between the linear maps (norms, residual branch, dropout) is divided
    along the sequence, so that every all-reduce becomes a reduce-scatter and an all-gather.
    """
    model, sequence = stage.model, mesh.config.sequence
    between = Shard(1) if sequence else Replicate()
    styles: dict[str, ParallelStyle] = {}
    for name, module in model.named_modules():
        if name == "word_embeddings":
            styles[name] = VocabularyParallel(mesh.tp, between)
        elif name.endswith(LINEAR_NAMES):
            styles[name] = (
                RowwiseParallel(output_layouts=between)
                if is_cut_by_columns(name)
                else ColwiseParallel(input_layouts=between)
            )
        elif sequence and isinstance(module, nn.LayerNorm):
            styles[name] = SequenceParallel(use_local_output=True)
    parallelize_module(model, mesh.tensor, styles)
    part = (mesh.tp, mesh.config.tensor)
    model.sequence_part = part if sequence else model.sequence_part
    for layer in stage.layers:
        layer.attention.head_part = part
        layer.sequence_part = model.sequence_part

    def gather(hidden_BSH: Tensor) -> Tensor:
        whole = DTensor.from_local(hidden_BSH, mesh.tensor, [between], run_check=False).redistribute(
            placements=[Replicate()]
        )
        # Every rank's words give a part of the gradient: their sum is what flows back.
        return whole.to_local(grad_placements=[Partial()])

    stage.gather = gather
    stage.copy_output = mesh.config.schedule == "zero_bubble"
