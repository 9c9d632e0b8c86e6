"""What a layer keeps for its backward pass, counted against what PyTorch saves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from ranks import apart
from support import small_config
from torch import Tensor
from torch.distributed.tensor import DTensor

from glm130b.config import RunConfig
from glm130b.model import GLM
from glm130b.parallel import Stage, fake_mesh
from glm130b.parallel.tensor import place_tensor_parallel
from glm130b.planning.activations import layer_bytes

pytestmark = pytest.mark.slow

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
SHAPE = [
    "model.num_layers=3",
    "model.hidden_size=256",
    "model.num_heads=8",
    "model.ffn_size=640",
    "model.vocab_size=64",
    "data.seq_length=64",
    "objective.windows_per_sequence=1",
    "train.micro_batch_size=2",
]


@contextmanager
def stage_of_one_layer(config: RunConfig) -> Iterator[Stage]:
    """The middle layer with random values, as the first of the tensor-parallel ranks holds it."""

    def head(*_: Any) -> tuple[Tensor, Tensor]:
        raise AssertionError("a middle stage has no head")

    with fake_mesh(config.parallel, 0) as mesh:
        with torch.device("meta"):
            stage = Stage(GLM(config.model), range(1, 2), head)
        if config.parallel.tensor > 1:
            place_tensor_parallel(stage, mesh)
        stage.to_empty(device="cpu").to(DTYPES[config.train.precision])
        for parameter in stage.parameters():
            plain(parameter).data.normal_(0, 0.02)
        stage.model.recompute = config.train.recompute
        yield stage


def plain(tensor: Tensor) -> Tensor:
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def saved_bytes(config: RunConfig) -> int:
    """Bytes of all storages that a forward pass of one layer saves, its parameters left out."""
    tensor = config.parallel.tensor
    size, length = config.train.micro_batch_size, config.data.seq_length
    storages: dict[int, Any] = {}

    def keep(saved: Tensor) -> Tensor:
        storage = plain(saved).untyped_storage()
        storages[storage.data_ptr()] = storage
        return saved

    with stage_of_one_layer(config) as stage:
        ids = torch.arange(length).expand(size, length)
        branch = (ids >= length // 2).long()
        inputs = stage.model.layer_inputs(ids, torch.zeros_like(ids), branch, dropout_seeds=torch.arange(size))
        rows = length // tensor if config.parallel.sequence else length
        dtype = DTYPES[config.train.precision]
        x = torch.randn(size, rows, config.model.hidden_size, dtype=dtype, requires_grad=True)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda saved: saved):
            (layer,) = stage.layers
            layer(x, inputs)
        for parameter in stage.parameters():
            storages.pop(plain(parameter).untyped_storage().data_ptr(), None)
    return sum(storage.nbytes() for storage in storages.values())


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("recompute", ["none", "selective", "full"])
@pytest.mark.parametrize("dropout", [(0, 0), (0.1, 0), (0.1, 0.1)])
@pytest.mark.parametrize("tensor", ["{tensor: 1}", "{tensor: 2}", "{tensor: 2, sequence: true}"])
@apart
def test_a_layer_keeps_what_the_formula_says(
    precision: str, recompute: str, dropout: tuple[float, float], tensor: str
) -> None:
    hidden, attention = dropout
    config = small_config(
        *SHAPE,
        f"model.hidden_dropout={hidden}",
        f"model.attention_dropout={attention}",
        f"train.precision={precision}",
        f"train.recompute={recompute}",
        f"parallel={tensor}",
    ).run
    saved = saved_bytes(config)
    assert abs(layer_bytes(config, config.train.recompute, gpu=False) / saved - 1) < 0.02
