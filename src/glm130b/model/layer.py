"""One block of the transformer: attention and feed-forward.

Shapes: B batch, S tokens, K keys, H hidden size, I feed-forward size, h heads, d head size. Heads, I and,
between the linear maps, S may be those of one tensor-parallel rank; nothing here depends on which.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from glm130b.config import ModelConfig, Recompute
from glm130b.model.attention import Visibility, attend
from glm130b.model.cache import KVCache
from glm130b.model.dropout import WHOLE, Part, dropper, mix
from glm130b.model.geglu import geglu
from glm130b.model.rope import Tables, split_and_rotate
from glm130b.model.streaming import stream_layer

LINEAR_NAMES = (
    "attention.query_key_value",
    "attention.dense",
    "mlp.dense_h_to_4h",
    "mlp.dense_4h_to_h",
)
"""The linear maps of a layer: what quantisation and tensor parallelism act on."""


def is_cut_by_columns(name: str) -> bool:
    """Whether tensor parallelism cuts the weight of this linear map by columns, its inputs; the others by rows.

    Args:
        name: of the map, its weight or its weight's scale.
    """
    return name.removesuffix("_scale").removesuffix(".weight").endswith(("attention.dense", "mlp.dense_4h_to_h"))


@dataclass(frozen=True)
class LayerInputs:
    """What every layer is given besides the hidden states.

    Attributes:
        tables: rotary cosines and sines.
        visibility: who sees whom.
        slots, cache: where the keys and values of these tokens go, and those so far.
        seeds: of dropout; None for none.
        recompute: what is not kept for the backward pass.
        block: so many tokens at a time; None for all. See ``model/streaming.py``.
    """

    tables: Tables
    visibility: Visibility
    slots: slice
    cache: KVCache | None = None
    seeds: Tensor | None = None
    recompute: Recompute = "none"
    block: int | None = None

    def to(self, device: torch.device) -> LayerInputs:
        """The same for layers on another device."""
        tables = self.tables[0].to(device), self.tables[1].to(device)
        visibility = self.visibility.to(device)
        return LayerInputs(tables, visibility, self.slots, self.cache, self.seeds, self.recompute, self.block)


class Attention(nn.Module):
    """Self-attention with rotary positions; queries, keys and values lie together, head by head."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.config, self.layer = config, layer
        self.query_key_value = nn.Linear(config.hidden_size, 3 * config.hidden_size)
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.dropout_use = mix(layer, 0)
        self.head_part: Part = WHOLE

    def forward(self, u_BSH: Tensor, inputs: LayerInputs) -> Tensor:
        """Attend over ``u`` (and the cache, which takes up the new keys and values)."""
        q_BhSd, k_BhSd, v_BhSd = self.project(u_BSH, inputs.tables)
        if inputs.cache is not None:
            k_BhSd, v_BhSd = inputs.cache.store(self.layer, inputs.slots, k_BhSd, v_BhSd)
        drop = dropper(self.config.attention_dropout, inputs.seeds, self.dropout_use, self.head_part)
        return self.combine(q_BhSd, k_BhSd, v_BhSd, inputs.visibility, drop)

    def project(self, u_BSH: Tensor, tables: Tables) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values ``[B, h, S, d]``, the first two rotated."""
        qkv_BSN: Tensor = self.query_key_value(u_BSH)
        return split_and_rotate(qkv_BSN.view(*qkv_BSN.shape[:2], -1, 3 * self.config.head_size), tables)

    def combine(
        self,
        q_BhSd: Tensor,
        k_BhKd: Tensor,
        v_BhKd: Tensor,
        visibility: Visibility,
        drop: Callable[[Tensor], Tensor] | None = None,
    ) -> Tensor:
        """What the queries see of keys and values, through the output map: ``[B, S, H]``."""
        out_BhSd = attend(q_BhSd, k_BhKd, v_BhKd, visibility, drop, layer=self.layer)
        out: Tensor = self.dense(out_BhSd.transpose(1, 2).flatten(2))
        return out


class MLP(nn.Module):
    """Feed-forward with GeGLU."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.dense_h_to_4h = nn.Linear(config.hidden_size, 2 * config.ffn_size)
        self.dense_4h_to_h = nn.Linear(config.ffn_size, config.hidden_size)

    def forward(self, z_BSH: Tensor, recompute: Recompute = "none") -> Tensor:
        """Map ``[B, S, H]`` to ``[B, S, H]``."""
        wide_BSN = self.dense_h_to_4h(z_BSH)
        if recompute == "selective" and torch.is_grad_enabled():
            # Recomputation stops at the last tensor it owes, GeGLU's output: the second product runs once.
            return _checkpoint(self._second_half, wide_BSN)
        return self._second_half(wide_BSN)

    def _second_half(self, wide_BSN: Tensor) -> Tensor:
        out: Tensor = self.dense_4h_to_h(geglu(wide_BSN))
        return out


class Layer(nn.Module):
    """One DeepNorm block, its boundaries shifted so that it starts with the LayerNorm.

    ``u = LN(x); z = LN(alpha u + attention(u)); out = alpha z + mlp(z)``: the residual branch carries the
    normalised tensor. The next layer's first LayerNorm, or the final one, completes the block.
    """

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.config, self.layer = config, layer
        self.input_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layernorm_epsilon)
        self.attention = Attention(config, layer)
        self.post_attention_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layernorm_epsilon)
        self.mlp = MLP(config)
        self.dropout_uses = mix(layer, 1), mix(layer, 2)
        self.sequence_part: Part = WHOLE

    def forward(self, x_BSH: Tensor, inputs: LayerInputs) -> Tensor:
        """Map ``[B, S, H]`` to ``[B, S, H]``."""
        if inputs.block is not None:
            return stream_layer(self, x_BSH, inputs)
        if inputs.recompute == "full" and torch.is_grad_enabled():
            return _checkpoint(self._block, x_BSH, inputs)
        return self._block(x_BSH, inputs)

    def _block(self, x_BSH: Tensor, inputs: LayerInputs) -> Tensor:
        u_BSH = self.input_layernorm(x_BSH)
        return self.finish(u_BSH, self.attention(u_BSH, inputs), inputs)

    def finish(self, u_BSH: Tensor, attended_BSH: Tensor, inputs: LayerInputs) -> Tensor:
        """The layer's output, given the normalised input and what attention made of it."""
        alpha = self.config.deepnorm_alpha
        branch_BSH = self._drop(attended_BSH, inputs, self.dropout_uses[0])
        z_BSH = self.post_attention_layernorm(torch.add(branch_BSH, u_BSH, alpha=alpha))
        branch_BSH = self._drop(self.mlp(z_BSH, inputs.recompute), inputs, self.dropout_uses[1])
        return torch.add(branch_BSH, z_BSH, alpha=alpha)

    def _drop(self, x_BSH: Tensor, inputs: LayerInputs, use: int) -> Tensor:
        drop = dropper(self.config.hidden_dropout, inputs.seeds, use, self.sequence_part)
        return x_BSH if drop is None else drop(x_BSH)


def _checkpoint(function: Callable[..., Tensor], *arguments: Any) -> Tensor:
    out: Tensor = checkpoint(function, *arguments, use_reentrant=False, preserve_rng_state=False)
    return out
