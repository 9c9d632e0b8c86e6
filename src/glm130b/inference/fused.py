"""One token of each row through a model on a GPU in seven kernels a layer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from torch import Tensor, nn

from glm130b.kernels import gpu
from glm130b.model import GLM, KVCache, Layer
from glm130b.model.geglu import geglu
from glm130b.model.rope import Tables
from glm130b.quantization import QuantizedLinear


def fits_fused(model: GLM) -> bool:
    """Whether ``fused_hidden`` takes this model: all on one device, with heads that Triton can hold."""
    size = model.config.head_size
    whole = len({*model.layer_devices}) == 1 and not model.streamed
    return gpu.has_triton() and whole and size >= 16 and size & (size - 1) == 0


def fused_hidden(model: GLM, cache: KVCache, tokens: Tensor, tables: Tables, slot: Tensor) -> Tensor:
    """What the output layer sees of one token of each row, ``[B, H]``; the plain step's but for rounding.

    Args:
        tokens: int64 ``[B]``.
        tables: rotary, of the tokens' positions.
        slot: where in the cache they go, int64 ``[1]``; their ``sample`` and ``branch`` are there already.
    """
    from glm130b.kernels.gpu.token import add_and_norm, attend_token

    alpha = model.config.deepnorm_alpha
    cos, sin = (table.flatten(1).to(model.dtype) for table in tables)

    def normed(y: Tensor, u: Tensor | None, norm: nn.LayerNorm) -> Tensor:
        return add_and_norm(y, u, norm.weight, norm.bias, alpha=alpha, epsilon=norm.eps)

    x, z = model.embed(tokens), None
    for n, layer in enumerate(cast(Iterable[Layer], model.layers)):
        u = normed(x, z, layer.input_layernorm)
        qkv = _times(layer.attention.query_key_value, u)
        attended = attend_token(qkv, cos, sin, cache.keys[n], cache.values[n], cache.sample, cache.branch, slot)
        z = normed(_times(layer.attention.dense, attended), u, layer.post_attention_layernorm)
        x = _times(layer.mlp.dense_4h_to_h, _expanded(layer.mlp.dense_h_to_4h, z))
    return normed(x, z, model.final_layernorm)


def _times(linear: nn.Module, x: Tensor) -> Tensor:
    if isinstance(linear, QuantizedLinear):
        return gpu.linear(x, linear.weight, linear.weight_scale, linear.bits, linear.bias)
    out: Tensor = linear(x)
    return out


def _expanded(linear: nn.Module, x: Tensor) -> Tensor:
    if (
        isinstance(linear, QuantizedLinear)
        and len(x) <= gpu.GEMV_MAX_ROWS
        and gpu.takes_gemv(linear.weight, linear.weight_scale)
    ):
        from glm130b.kernels.gpu.gemv import gemv

        return gemv(x, linear.weight, linear.weight_scale, linear.bits, linear.bias, geglu=True)
    return geglu(_times(linear, x))
