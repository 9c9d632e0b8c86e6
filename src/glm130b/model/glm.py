"""The GLM-130B transformer.

Shapes: B batch, S tokens, H hidden size, I feed-forward size, V vocabulary, h heads, d head size. Heads, I and,
between the linear maps, S may be those of one tensor-parallel rank; nothing here depends on which.
Parameter names are the official checkpoint's, less its leading ``transformer.``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from glm130b.config import ModelConfig, Recompute
from glm130b.model.attention import Backend, Visibility, attend, make_visibility
from glm130b.model.cache import KVCache
from glm130b.model.dropout import WHOLE, Part, dropper, mix
from glm130b.model.geglu import geglu
from glm130b.model.rope import Tables, inverse_frequencies, rotary_tables, split_and_rotate

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


_EMBEDDING_USE = mix(-1, 0)


@dataclass(frozen=True)
class LayerInputs:
    """What every layer is given besides the hidden states.

    Attributes:
        tables: rotary cosines and sines.
        visibility: who sees whom.
        slots, cache: where the keys and values of these tokens go, and those so far.
        seeds: of dropout; None for none.
        recompute: what is not kept for the backward pass.
    """

    tables: Tables
    visibility: Visibility
    slots: slice
    cache: KVCache | None = None
    seeds: Tensor | None = None
    recompute: Recompute = "none"

    def to(self, device: torch.device) -> LayerInputs:
        """The same for layers on another device."""
        tables = self.tables[0].to(device), self.tables[1].to(device)
        visibility = self.visibility.to(device)
        return LayerInputs(tables, visibility, self.slots, self.cache, self.seeds, self.recompute)


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
        qkv_BSN: Tensor = self.query_key_value(u_BSH)
        B, S, _ = qkv_BSN.shape
        q_BhSd, k_BhSd, v_BhSd = split_and_rotate(qkv_BSN.view(B, S, -1, 3 * self.config.head_size), inputs.tables)
        if inputs.cache is not None:
            k_BhSd, v_BhSd = inputs.cache.store(self.layer, inputs.slots, k_BhSd, v_BhSd)
        drop = dropper(self.config.attention_dropout, inputs.seeds, self.dropout_use, self.head_part)
        out_BhSd = attend(q_BhSd, k_BhSd, v_BhSd, inputs.visibility, drop, layer=self.layer)
        out: Tensor = self.dense(out_BhSd.transpose(1, 2).reshape(B, S, -1))
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
        if inputs.recompute == "full" and torch.is_grad_enabled():
            return _checkpoint(self._block, x_BSH, inputs)
        return self._block(x_BSH, inputs)

    def _block(self, x_BSH: Tensor, inputs: LayerInputs) -> Tensor:
        alpha = self.config.deepnorm_alpha
        u_BSH = self.input_layernorm(x_BSH)
        branch_BSH = self._drop(self.attention(u_BSH, inputs), inputs, self.dropout_uses[0])
        z_BSH = self.post_attention_layernorm(torch.add(branch_BSH, u_BSH, alpha=alpha))
        branch_BSH = self._drop(self.mlp(z_BSH, inputs.recompute), inputs, self.dropout_uses[1])
        return torch.add(branch_BSH, z_BSH, alpha=alpha)

    def _drop(self, x_BSH: Tensor, inputs: LayerInputs, use: int) -> Tensor:
        drop = dropper(self.config.hidden_dropout, inputs.seeds, use, self.sequence_part)
        return x_BSH if drop is None else drop(x_BSH)


def _checkpoint(function: Callable[..., Tensor], *arguments: Any) -> Tensor:
    out: Tensor = checkpoint(function, *arguments, use_reentrant=False, preserve_rng_state=False)
    return out


class GLM(nn.Module):
    """A bidirectional-context, autoregressive-answer transformer.

    The parameters are left as torch makes them; see ``build_model`` and ``init_parameters``.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.word_embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config, n) for n in range(config.num_layers))
        self.final_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layernorm_epsilon)
        self.recompute: Recompute = "none"
        self.attention_backend: Backend = "auto"
        self.sequence_part: Part = WHOLE

    def forward(
        self,
        tokens: Tensor,
        position_ids: Tensor,
        sample: Tensor,
        branch: Tensor,
        *,
        cache: KVCache | None = None,
        rows: Tensor | None = None,
        dropout_seeds: Tensor | None = None,
    ) -> Tensor:
        """Logits over the whole vocabulary, padding ids included.

        Args:
            tokens, position_ids, sample, branch: integers ``[B, S]``; see ``model/attention.py`` for the
                last two.
            cache: read and extended by these S tokens.
            rows: flat indices into ``B * S``; the output layer is computed only there.
            dropout_seeds: int64 ``[B]``; None for no dropout.

        Returns:
            ``[B, S, V]``, or ``[len(rows), V]`` if ``rows`` is given.
        """
        hidden = self.hidden_states(tokens, position_ids, sample, branch, cache=cache, dropout_seeds=dropout_seeds)
        if rows is not None:
            hidden = hidden.flatten(0, 1)[rows]
        return F.linear(hidden, self.word_embeddings.weight)

    def hidden_states(
        self,
        tokens: Tensor,
        position_ids: Tensor,
        sample: Tensor,
        branch: Tensor,
        *,
        cache: KVCache | None = None,
        dropout_seeds: Tensor | None = None,
    ) -> Tensor:
        """What the output layer sees, ``[B, S, H]``; arguments as in ``forward``."""
        inputs = self.layer_inputs(position_ids, sample, branch, cache=cache, dropout_seeds=dropout_seeds)
        x_BSH = self.embed(tokens, dropout_seeds)
        for layer, device in zip(self.layers, self.layer_devices, strict=True):
            if device != x_BSH.device:
                x_BSH, inputs = x_BSH.to(device), inputs.to(device)
            x_BSH = layer(x_BSH, inputs)
        out: Tensor = self.final_layernorm(x_BSH.to(tokens.device))
        return out

    def layer_inputs(
        self,
        position_ids: Tensor,
        sample: Tensor,
        branch: Tensor,
        *,
        cache: KVCache | None = None,
        dropout_seeds: Tensor | None = None,
    ) -> LayerInputs:
        """Make once what all layers are given; arguments as in ``forward``."""
        slots = slice(0, sample.shape[1]) if cache is None else cache.reserve(sample, branch)
        dense = self.config.attention_dropout and dropout_seeds is not None
        visibility = make_visibility(
            sample,
            branch,
            first_slot=slots.start,
            k_sample=None if cache is None else cache.sample[:, : cache.length],
            k_branch=None if cache is None else cache.branch[:, : cache.length],
            backend="sdpa" if dense else self.attention_backend,
        )
        frequencies = inverse_frequencies(self.config.head_size, self.config.rope_base, self.config.rope_frequencies)
        tables = rotary_tables(position_ids, frequencies.to(position_ids.device))
        return LayerInputs(tables, visibility, slots, cache, dropout_seeds, self.recompute)

    def embed(self, tokens: Tensor, dropout_seeds: Tensor | None = None) -> Tensor:
        """What the first layer sees, ``[B, S, H]``."""
        x_BSH: Tensor = self.word_embeddings(tokens)
        drop = dropper(self.config.hidden_dropout, dropout_seeds, _EMBEDDING_USE, self.sequence_part)
        return x_BSH if drop is None else drop(x_BSH)

    @property
    def layer_devices(self) -> list[torch.device]:
        """Where each layer lies; embedding and final norm are where the tokens have to be."""
        return [next(layer.parameters()).device for layer in self.layers]
