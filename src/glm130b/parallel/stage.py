"""A stretch of the model that is called the same way wherever it lies in a pipeline.

Shapes: B sequences of a micro-batch, S tokens, H hidden size, T the most targets of a sequence, N all targets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from glm130b.model import GLM, Layer

Head = Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""Output layer and loss: of hidden states ``[N, H]``, embedding ``[V, H]``, targets and weights ``[N]``, the weighted
sum of the cross-entropies, and each of them without gradient."""


class Stage(nn.Module):
    """Consecutive layers, with the lookup before the first and the loss behind the last.

    Parameters keep the names they have in the whole model, behind ``model.``.

    Args:
        model: the whole, on the meta device; what is not of this stage is taken out of it.
        layers: which layers stay.
        head: what the last stage ends in.
    """

    def __init__(self, model: GLM, layers: range, head: Head) -> None:
        super().__init__()
        self.first = layers.start == 0
        self.last = layers.stop == model.config.num_layers
        self.model = model
        self.head = head
        self.gather: Callable[[Tensor], Tensor] | None = None
        """Makes the whole of what tensor-parallel ranks hold of the last hidden states."""
        self.copy_output = False
        """Whether the output must not be a view (split backward passes over tensor parallelism)."""
        if not (self.first and self.last):
            model.layers = cast(nn.ModuleList, nn.ModuleDict({str(n): model.layers[n] for n in layers}))
        if not (self.first or self.last):
            del model.word_embeddings
        if not self.last:
            del model.final_layernorm

    @property
    def layers(self) -> Iterable[Layer]:
        """Its layers in order."""
        layers: Any = self.model.layers
        return cast(Iterable[Layer], layers.values() if isinstance(layers, nn.ModuleDict) else layers)

    def forward(
        self,
        x: Tensor,
        *,
        position_ids: Tensor,
        sample: Tensor,
        branch: Tensor,
        seeds: Tensor,
        counts: Tensor,
        rows: Tensor,
        targets: Tensor,
        weights: Tensor,
    ) -> Tensor:
        """From tokens or hidden states to hidden states or losses.

        Args:
            x: int64 ``[B, S]`` tokens for the first stage, ``[B, S, H]`` for the others.
            position_ids, sample, branch: int64 ``[B, S]``.
            seeds: of dropout, int64 ``[B]``; without effect in evaluation mode.
            counts: targets of each sequence, int64 ``[B]`` on the CPU.
            rows, targets: places and ids of the targets, int64 ``[B, T]``, filled up behind ``counts``.
            weights: of each target in the loss, FP32 ``[B, T]``.

        Returns:
            ``[B, S, H]``; of the last stage FP32 ``[B]``, each sequence's share of the loss. Only their sum may be
            differentiated.
        """
        dropout = seeds if self.training else None
        inputs = self.model.layer_inputs(position_ids, sample, branch, dropout_seeds=dropout)
        if self.first:
            x = self.model.embed(x, dropout)
        for layer in self.layers:
            x = layer(x, inputs)
        if self.last:
            return self._losses(self.model.final_layernorm(x), counts.tolist(), rows, targets, weights)
        return x.clone() if self.copy_output else x

    def _losses(
        self, hidden_BSH: Tensor, counts: list[int], rows_BT: Tensor, targets_BT: Tensor, weights_BT: Tensor
    ) -> Tensor:
        if self.gather is not None:
            hidden_BSH = self.gather(hidden_BSH)
        starts_B1 = torch.arange(len(counts), device=rows_BT.device)[:, None] * hidden_BSH.shape[1]
        hidden_NH = hidden_BSH.flatten(0, 1)[_filled(rows_BT + starts_B1, counts)]
        weight_VH = self.model.word_embeddings.weight
        if isinstance(weight_VH, DTensor):
            weight_VH = weight_VH.to_local()
        weights_N = _filled(weights_BT, counts)
        total, losses_N = self.head(hidden_NH, weight_VH, _filled(targets_BT, counts), weights_N)
        by_sequence = torch.stack([part.sum() for part in torch.split(losses_N * weights_N, counts)])
        return by_sequence + (total - total.detach()) / len(counts)  # the values of one, the gradient of the other


def _filled(x_BT: Tensor, counts: list[int]) -> Tensor:
    """The first ``counts`` entries of each row, one row after the other."""
    return torch.cat([row[:count] for row, count in zip(x_BT, counts, strict=True)])
