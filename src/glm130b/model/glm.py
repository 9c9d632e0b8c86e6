"""The GLM-130B transformer.

Shapes: B batch, S tokens, H hidden size, V vocabulary.
Parameter names are the official checkpoint's, less its leading ``transformer.``.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glm130b.config import ModelConfig, Recompute
from glm130b.kernels import half_linear
from glm130b.model.attention import Backend, Visibility, make_visibility
from glm130b.model.cache import KVCache
from glm130b.model.dropout import WHOLE, Part, dropper, mix
from glm130b.model.layer import Layer, LayerInputs
from glm130b.model.rope import inverse_frequencies, rotary_tables

_EMBEDDING_USE = mix(-1, 0)


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
        self.output: nn.Module | None = None
        """Maps hidden states to logits in the place of the embedding: a quantised copy of it."""
        self.activation_dtype: torch.dtype | None = None
        """What rows of the embedding are cast to when they are looked up, if it is kept in half precision on a CPU."""
        self.streamed = False
        """Whether a layer's weights are sure to be there only from when its first norm is called to the next one's."""
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
        block: int | None = None,
    ) -> Tensor:
        """Logits over the whole vocabulary, padding ids included.

        Args:
            tokens, position_ids, sample, branch: integers ``[B, S]``; see ``model/attention.py`` for the
                last two.
            cache: read and extended by these S tokens.
            rows: flat indices into ``B * S``; the output layer is computed only there.
            dropout_seeds: int64 ``[B]``; None for no dropout.
            block: take so many tokens of each row at a time through a layer, which bounds memory and changes
                nothing else; needs a cache, and gives no gradients.

        Returns:
            ``[B, S, V]``, or ``[len(rows), V]`` if ``rows`` is given.
        """
        hidden = self.hidden_states(
            tokens, position_ids, sample, branch, cache=cache, dropout_seeds=dropout_seeds, block=block
        )
        if rows is not None:
            hidden = hidden.flatten(0, 1)[rows]
        return self.logits(hidden)

    def logits(self, hidden: Tensor) -> Tensor:
        """The output layer: ``[…, H]`` to ``[…, V]``."""
        if self.output is not None:
            out: Tensor = self.output(hidden)
            return out
        weight_VH = self.word_embeddings.weight
        same = self.activation_dtype in (None, weight_VH.dtype)
        return F.linear(hidden, weight_VH) if same else half_linear(hidden, weight_VH)

    def hidden_states(
        self,
        tokens: Tensor,
        position_ids: Tensor,
        sample: Tensor,
        branch: Tensor,
        *,
        cache: KVCache | None = None,
        dropout_seeds: Tensor | None = None,
        block: int | None = None,
    ) -> Tensor:
        """What the output layer sees, ``[B, S, H]``; arguments as in ``forward``."""
        inputs = self.layer_inputs(position_ids, sample, branch, cache=cache, dropout_seeds=dropout_seeds, block=block)
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
        block: int | None = None,
    ) -> LayerInputs:
        """Make once what all layers are given; arguments as in ``forward``."""
        slots = slice(0, sample.shape[1]) if cache is None else cache.reserve(sample, branch)
        dense = self.config.attention_dropout and dropout_seeds is not None
        visibility = Visibility()
        if block is None:
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
        return LayerInputs(tables, visibility, slots, cache, dropout_seeds, self.recompute, block)

    def embed(self, tokens: Tensor, dropout_seeds: Tensor | None = None) -> Tensor:
        """What the first layer sees, ``[B, S, H]``."""
        x_BSH: Tensor = self.word_embeddings(tokens)
        if self.activation_dtype is not None:
            x_BSH = x_BSH.to(self.activation_dtype)
        drop = dropper(self.config.hidden_dropout, dropout_seeds, _EMBEDDING_USE, self.sequence_part)
        return x_BSH if drop is None else drop(x_BSH)

    @property
    def dtype(self) -> torch.dtype:
        """Of hidden states, keys and values."""
        return self.activation_dtype or self.word_embeddings.weight.dtype

    @property
    def layer_devices(self) -> list[torch.device]:
        """Where each layer lies; embedding and final norm are where the tokens have to be."""
        return [next(layer.parameters()).device for layer in self.layers]
