"""One token of each row through a model on a GPU in five kernels a layer, if it is quantised."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeGuard, cast

from torch import Tensor, nn

from glm130b.kernels import gpu
from glm130b.model import GLM, KVCache, Layer, Tables, geglu
from glm130b.quantization import QuantizedLinear


def fits_fused(model: GLM) -> bool:
    """Whether ``fused_hidden`` takes this model: all on one device, with heads that Triton can hold."""
    size = model.config.head_size
    whole = len({*model.layer_devices}) == 1 and not model.streamed
    return gpu.has_triton() and whole and size >= 16 and size & (size - 1) == 0


def fused_hidden(model: GLM, cache: KVCache, tokens: Tensor, tables: Tables, slot: Tensor, arrived: Tensor) -> Tensor:
    """What the output layer sees of one token of each row, ``[B, H]``; the plain step's but for rounding.

    Args:
        tokens: int64 ``[B]``.
        tables: rotary, of the tokens' positions.
        slot: where in the cache they go, int64 ``[1]``; their ``sample`` and ``branch`` are there already.
        arrived: zeros, int32 ``[B * num_heads]``, for programs to count themselves; zeros again afterwards.
    """
    from glm130b.kernels.gpu.token import attend_token

    cos, sin = (table.flatten(1).to(model.dtype) for table in tables)
    layers = list(cast(Iterable[Layer], model.layers))
    following = [*(layer.input_layernorm for layer in layers[1:]), model.final_layernorm]
    u: Tensor = layers[0].input_layernorm(model.embed(tokens))
    for n, (layer, next_norm) in enumerate(zip(layers, following, strict=True)):
        qkv = _times(layer.attention.query_key_value, u)
        attended = attend_token(
            qkv, cos, sin, cache.keys[n], cache.values[n], cache.sample, cache.branch, slot, arrived
        )
        z = _times_and_norm(layer.attention.dense, attended, u, layer.post_attention_layernorm, model, arrived)
        expanded = _expanded(layer.mlp.dense_h_to_4h, z)
        u = _times_and_norm(layer.mlp.dense_4h_to_h, expanded, z, next_norm, model, arrived)
    return u


def _times(linear: nn.Module, x: Tensor) -> Tensor:
    if isinstance(linear, QuantizedLinear):
        return gpu.linear(x, linear.weight, linear.weight_scale, linear.bits, linear.bias)
    out: Tensor = linear(x)
    return out


def _times_and_norm(
    linear: nn.Module, x: Tensor, residual: Tensor, norm: nn.LayerNorm, model: GLM, arrived: Tensor
) -> Tensor:
    from glm130b.kernels.gpu.norm import AddNorm, add_and_norm

    add_norm = AddNorm(residual, norm.weight, norm.bias, model.config.deepnorm_alpha, norm.eps)
    if _by_gemv(linear, x):
        return _gemv(linear, x, norm=add_norm, arrived=arrived)
    return add_and_norm(_times(linear, x), add_norm)


def _expanded(linear: nn.Module, x: Tensor) -> Tensor:
    return _gemv(linear, x, geglu=True) if _by_gemv(linear, x) else geglu(_times(linear, x))


def _by_gemv(linear: nn.Module, x: Tensor) -> TypeGuard[QuantizedLinear]:
    few = len(x) <= gpu.GEMV_MAX_ROWS
    return isinstance(linear, QuantizedLinear) and few and gpu.takes_gemv(linear.weight, linear.weight_scale)


def _gemv(linear: QuantizedLinear, x: Tensor, **what_follows: Any) -> Tensor:
    from glm130b.kernels.gpu.gemv import gemv

    return gemv(x, linear.weight, linear.weight_scale, linear.bits, linear.bias, **what_follows)
