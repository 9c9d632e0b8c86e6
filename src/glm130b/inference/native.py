"""Steps of a quantised model on a CPU as one call into C."""

from __future__ import annotations

from ctypes import POINTER, c_void_p, cast
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from glm130b.kernels import cpu
from glm130b.model import GLM, LINEAR_NAMES, KVCache, Layer, inverse_frequencies
from glm130b.quantization import QuantizedLinear

if TYPE_CHECKING:
    from glm130b.inference.engine import Stepper


def native(model: GLM, cache: KVCache) -> Stepper | None:
    """A stepper in C; None if the model is not quantised, not all in memory of this CPU, or nothing was compiled."""
    maps = [[_map(layer.get_submodule(name)) for name in LINEAR_NAMES] for layer in model.layers]
    output = _map(model.output) if model.output is not None else cpu.Map(model.word_embeddings.weight)
    places = {str(device) for device in model.layer_devices} | {str(model.word_embeddings.weight.device)}
    quantized = any(one.scale is not None for layer in maps for one in layer)
    norms = [norm for norm in model.modules() if isinstance(norm, nn.LayerNorm)]
    exact = all(part.dtype == torch.float32 for norm in norms for part in (norm.weight, norm.bias))
    usable = quantized and exact and places == {"cpu"} and not model.streamed and cache.keys[0].dtype == torch.float32
    words = cpu.Map(model.word_embeddings.weight)
    if not usable or not all(one.fits for layer in maps for one in (*layer, output, words)):
        return None
    library = cpu.library()
    return None if library is None else _Native(library, model, cache, maps, output)


def _map(module: nn.Module) -> cpu.Map:
    if isinstance(module, QuantizedLinear):
        return cpu.Map(module.weight, module.weight_scale, module.bits, module.bias)
    assert isinstance(module, nn.Linear)
    return cpu.Map(module.weight, bias=module.bias)


class _Native:
    """The C structures of a model, and the tensors that they point into."""

    def __init__(
        self, library: cpu.Library, model: GLM, cache: KVCache, maps: list[list[cpu.Map]], output: cpu.Map
    ) -> None:
        config = model.config
        self._library, self._model, self._cache, self._maps = library, model, cache, (maps, output)
        self._frequencies = inverse_frequencies(config.head_size, config.rope_base, config.rope_frequencies)
        self._structures = [self._structure(maps, output, same) for same in (False, True)]

    def _structure(self, maps: list[list[cpu.Map]], output: cpu.Map, same_for_any_batch: bool) -> cpu.Model:
        model, config = self._model, self._model.config
        layers = (cpu.Layer * config.num_layers)()
        for n, (layer, own) in enumerate(zip(model.layers, maps, strict=True)):
            matrices = (one.matrix(same_for_any_batch=same_for_any_batch) for one in own)
            assert isinstance(layer, Layer)
            layers[n] = cpu.Layer(*_pointers(layer.input_layernorm, layer.post_attention_layernorm), *matrices)
        return cpu.Model(
            cast(layers, POINTER(cpu.Layer)),
            config.num_layers,
            config.hidden_size,
            config.num_heads,
            config.head_size,
            config.ffn_size,
            config.deepnorm_alpha,
            config.layernorm_epsilon,
            *_pointers(model.final_layernorm),
            self._frequencies.data_ptr(),
            output.matrix(same_for_any_batch=same_for_any_batch),
            cpu.Map(model.word_embeddings.weight).matrix(),
        )

    def __call__(self, columns: Tensor) -> Tensor:
        """See ``Stepper``."""
        return self._step(columns, self._structures[False])

    def ahead(self, columns: Tensor) -> Tensor:
        """See ``Stepper``."""
        return self._step(columns, self._structures[True])

    def _step(self, columns: Tensor, structure: cpu.Model) -> Tensor:
        tokens, positions, sample, branch = columns.contiguous()
        cache = self._cache
        slots = cache.reserve(sample, branch)
        keys, values = cpu.pointers(cache.keys), cpu.pointers(cache.values)
        held = cpu.Cache(
            cast(keys, POINTER(c_void_p)),
            cast(values, POINTER(c_void_p)),
            cache.sample.data_ptr(),
            cache.branch.data_ptr(),
            cache.capacity,
        )
        read = cpu.Tokens(tokens.data_ptr(), positions.data_ptr(), *tokens.shape, slots.start)
        return self._library.step(structure, held, read)


def _pointers(*norms: nn.LayerNorm) -> list[int]:
    return [tensor.data_ptr() for norm in norms for tensor in (norm.weight, norm.bias)]
