"""A layer that takes its tokens block by block, so that memory grows with the block and not with the context.

A bidirectional context cannot be read in pieces from first layer to last: every token sees all of it. Within
a layer it can: first all keys and values go to the cache, then each block of queries sees them all. At full
length there are only the residual stream, the queries of one layer, and the cache.

Shapes: B batch, S tokens, H hidden size, h heads, d head size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from glm130b.config import ModelConfig
from glm130b.model.attention import make_visibility

if TYPE_CHECKING:
    from glm130b.model.layer import Layer, LayerInputs


_WIDEST_BYTES = 1 << 26
_SMALLEST_BLOCK = 256


def block_size(config: ModelConfig, dtype: torch.dtype, rows: int = 1) -> int:
    """Tokens of each row to take at a time: as many as keep the widest tensor, ``[B, S, 2 I]``, within 64 MiB.

    At least 256 in all rows together: a matrix product of fewer is slower.
    """
    fitting = _WIDEST_BYTES // (2 * config.ffn_size * dtype.itemsize)
    return max(1, max(fitting, _SMALLEST_BLOCK) // rows)


@torch.no_grad()
def stream_layer(layer: Layer, x_BSH: Tensor, inputs: LayerInputs) -> Tensor:
    """What ``layer`` makes of ``x``, which is overwritten and returned; ``inputs.block`` tokens at a time."""
    cache, block, start = inputs.cache, inputs.block, inputs.slots.start
    if cache is None or block is None or inputs.seeds is not None:
        raise ValueError("tokens are read in blocks with a cache and without dropout")
    B, S, _ = x_BSH.shape
    blocks = [slice(first, min(first + block, S)) for first in range(0, S, block)]
    slots = [slice(start + tokens.start, start + tokens.stop) for tokens in blocks]
    q_BhSd: Tensor | None = None
    for tokens, its_slots in zip(blocks, slots, strict=True):
        u_BSH = layer.input_layernorm(x_BSH[:, tokens])
        tables = inputs.tables[0][:, tokens], inputs.tables[1][:, tokens]
        its_q_BhSd, k_BhSd, v_BhSd = layer.attention.project(u_BSH, tables)
        k_BhSd, v_BhSd = cache.store(layer.attention.layer, its_slots, k_BhSd, v_BhSd)
        if q_BhSd is None:
            q_BhSd = its_q_BhSd.new_empty(B, its_q_BhSd.shape[1], S, its_q_BhSd.shape[3])
        q_BhSd[:, :, tokens] = its_q_BhSd
        x_BSH[:, tokens] = u_BSH  # the residual branch carries the normalised tensor
    assert q_BhSd is not None
    for tokens, its_slots in zip(blocks, slots, strict=True):
        visibility = make_visibility(
            cache.sample[:, its_slots],
            cache.branch[:, its_slots],
            first_slot=its_slots.start,
            k_sample=cache.sample[:, : inputs.slots.stop],
            k_branch=cache.branch[:, : inputs.slots.stop],
            backend="sdpa",
        ).to(x_BSH.device)
        attended_BSH = layer.attention.combine(q_BhSd[:, :, tokens], k_BhSd, v_BhSd, visibility)
        x_BSH[:, tokens] = layer.finish(x_BSH[:, tokens], attended_BSH, inputs)
    return x_BSH
