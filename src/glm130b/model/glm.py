"""The GLM-130B transformer.

Shapes: B batch, S tokens, H hidden size, I feed-forward size, V vocabulary, h heads, d head size.
Parameter names are the official checkpoint's, less its leading ``transformer.``.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from glm130b.config import ModelConfig
from glm130b.model.attention import Backend, Visibility, attend, make_visibility
from glm130b.model.cache import KVCache
from glm130b.model.dropout import dropper
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


class Attention(nn.Module):
    """Self-attention with rotary positions; queries, keys and values lie together, head by head."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.config, self.layer = config, layer
        self.query_key_value = nn.Linear(config.hidden_size, 3 * config.hidden_size)
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(
        self,
        u_BSH: Tensor,
        tables: Tables,
        visibility: Visibility,
        cache: KVCache | None,
        slots: slice,
        seeds: Sequence[int] | None,
    ) -> Tensor:
        """Attend over ``u`` (and the cache, which takes up the new keys and values)."""
        B, S, H = u_BSH.shape
        qkv_BSh3d = self.query_key_value(u_BSH).view(B, S, self.config.num_heads, 3 * self.config.head_size)
        q_BhSd, k_BhSd, v_BhSd = split_and_rotate(qkv_BSh3d, tables)
        if cache is not None:
            k_BhSd, v_BhSd = cache.store(self.layer, slots, k_BhSd, v_BhSd)
        drop = dropper(self.config.attention_dropout, seeds, self.layer, 0)
        out_BhSd = attend(q_BhSd, k_BhSd, v_BhSd, visibility, drop)
        out: Tensor = self.dense(out_BhSd.transpose(1, 2).reshape(B, S, H))
        return out


class MLP(nn.Module):
    """Feed-forward with GeGLU."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.dense_h_to_4h = nn.Linear(config.hidden_size, 2 * config.ffn_size)
        self.dense_4h_to_h = nn.Linear(config.ffn_size, config.hidden_size)

    def forward(self, z_BSH: Tensor) -> Tensor:
        """Map ``[B, S, H]`` to ``[B, S, H]``."""
        out: Tensor = self.dense_4h_to_h(geglu(self.dense_h_to_4h(z_BSH)))
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

    def forward(
        self,
        x_BSH: Tensor,
        tables: Tables,
        visibility: Visibility,
        cache: KVCache | None,
        slots: slice,
        seeds: Sequence[int] | None,
    ) -> Tensor:
        """Map ``[B, S, H]`` to ``[B, S, H]``."""
        alpha, rate = self.config.deepnorm_alpha, self.config.hidden_dropout
        u_BSH = self.input_layernorm(x_BSH)
        branch_BSH = self.attention(u_BSH, tables, visibility, cache, slots, seeds)
        if drop := dropper(rate, seeds, self.layer, 1):
            branch_BSH = drop(branch_BSH)
        z_BSH = self.post_attention_layernorm(torch.add(branch_BSH, u_BSH, alpha=alpha))
        branch_BSH = self.mlp(z_BSH)
        if drop := dropper(rate, seeds, self.layer, 2):
            branch_BSH = drop(branch_BSH)
        return torch.add(branch_BSH, z_BSH, alpha=alpha)


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
        self.recompute_activations = False
        self.attention_backend: Backend = "auto"

    def forward(
        self,
        tokens: Tensor,
        position_ids: Tensor,
        sample: Tensor,
        branch: Tensor,
        *,
        cache: KVCache | None = None,
        rows: Tensor | None = None,
        dropout_seeds: Sequence[int] | None = None,
    ) -> Tensor:
        """Logits over the whole vocabulary, padding ids included.

        Args:
            tokens, position_ids, sample, branch: integers ``[B, S]``; see ``model/attention.py`` for the
                last two.
            cache: read and extended by these S tokens.
            rows: flat indices into ``B * S``; the output layer is computed only there.
            dropout_seeds: one number for each row of the batch; None for no dropout.

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
        dropout_seeds: Sequence[int] | None = None,
    ) -> Tensor:
        """What the output layer sees, ``[B, S, H]``; arguments as in ``forward``."""
        slots = slice(0, tokens.shape[1]) if cache is None else cache.reserve(sample, branch)
        backend: Backend = (
            "sdpa" if self.config.attention_dropout and dropout_seeds is not None else self.attention_backend
        )
        visibility = make_visibility(
            sample,
            branch,
            first_slot=slots.start,
            k_sample=None if cache is None else cache.sample[:, : cache.length],
            k_branch=None if cache is None else cache.branch[:, : cache.length],
            backend=backend,
        )
        frequencies = inverse_frequencies(self.config.head_size, self.config.rope_base, self.config.rope_frequencies)
        tables = rotary_tables(position_ids, frequencies.to(position_ids.device))
        x_BSH = self.word_embeddings(tokens)
        if drop := dropper(self.config.hidden_dropout, dropout_seeds, -1, 0):
            x_BSH = drop(x_BSH)
        for layer, device in zip(self.layers, self.layer_devices, strict=True):
            if device != x_BSH.device:
                x_BSH, visibility = x_BSH.to(device), visibility.to(device)
                tables = tables[0].to(device), tables[1].to(device)
            arguments = (x_BSH, tables, visibility, cache, slots, dropout_seeds)
            if self.recompute_activations and torch.is_grad_enabled():
                x_BSH = checkpoint(layer, *arguments, use_reentrant=False, preserve_rng_state=False)
            else:
                x_BSH = layer(*arguments)
        out: Tensor = self.final_layernorm(x_BSH.to(tokens.device))
        return out

    @property
    def layer_devices(self) -> list[torch.device]:
        """Where each layer lies; embedding and final norm are where the tokens have to be."""
        return [next(layer.parameters()).device for layer in self.layers]
