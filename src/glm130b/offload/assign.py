"""Gives a model weights that need not all fit in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise

import torch
from torch import Tensor, nn

from glm130b.config import ModelConfig
from glm130b.errors import ResourceError
from glm130b.files import size_text
from glm130b.model import GLM, TensorInfo
from glm130b.offload.buffered import BufferedLayers
from glm130b.offload.mapped import MappedUnits
from glm130b.offload.pages import Resident, available_memory
from glm130b.offload.weights import Weights

_USABLE_SHARE = 0.9
"""Of the memory there is that is taken without being asked."""

_WORKING_BYTES = 1 << 26
"""For a short text's keys, values and activations, and the program code that computes them."""
_MARGIN = 1 << 23
"""Kernels that handle pages in larger pieces map a little more than is asked for."""


def assign_streamed(
    model: GLM,
    tensors: Iterable[tuple[str, Tensor]],
    origin: str,
    *,
    limit: int,
    dtype: torch.dtype | None = None,
    device: torch.device,
) -> None:
    """Make ``tensors`` the parameters and buffers of a model built on the meta device, within a memory.

    The answers are those of the model without a limit. A CPU that uses the matrices as they are stored reads them
    where they lie in the mapped files (``MappedUnits``). On a GPU, or if they are cast, as many layers as fit are
    placed for good and the others take turns in two slots (``BufferedLayers``).

    ``model.streamed`` becomes True: who multiplies by weights other than by calling the layers' modules, in order,
    must not do so then.

    Args:
        limit: bytes. On a CPU, of the whole process, with what it holds already; weights give way to keys, values
            and activations. On a GPU, of its memory, with keys and values of one text of full length.
        dtype: of what is not quantised; default as stored, but FP32 for half precision on a CPU.
        device: where to compute.

    Raises:
        ModelError: a tensor is missing, superfluous or of the wrong shape; names it and ``origin``.
        ResourceError: the limit leaves no room for two layers.
    """
    weights = Weights(model, tensors, origin, dtype, device)
    if weights.keeps_half_embedding:
        model.activation_dtype = weights.dtype
    state = {name: weights.placed(name) for name in weights.rest}
    if all(weights.is_used_in_place(name) for layer in weights.layers for name in layer):
        mapped = _in_place(weights, limit, origin)
        state |= {name: weights.tensors[name] for layer in weights.layers for name in layer}
        _attach(model, mapped.enter, mapped.at_fullest)
    elif weights.lies_in_memory:
        raise ResourceError(
            f"{origin} is in memory already, all of it: it was read or quantised as it was loaded.",
            "Make a model folder of it first, with glm convert or glm quantize; a folder is read as it is needed.",
        )
    else:
        buffered, tensors_of_layers = _in_slots(weights, limit, origin, model.config)
        state |= tensors_of_layers
        if buffered is not None:
            _attach(model, buffered.enter)
    model.load_state_dict(state, assign=True)


def automatic_limit(infos: Mapping[str, TensorInfo], dtype: torch.dtype | None, device: torch.device) -> int | None:
    """What to take for ``limit`` if weights are more than there is room for, else None.

    Args:
        infos: of the tensors as they are stored.
        dtype, device: as of ``assign_streamed``.
    """
    quantized = any(info.dtype == torch.int8 for info in infos.values())
    widens = device.type == "cpu" and not quantized
    needed = sum(_bytes_used(info, dtype, widens=widens) for info in infos.values())
    if device.type == "cuda":
        available, used = torch.cuda.mem_get_info(device)[0], 0
    else:
        available, used = available_memory() or needed, Resident.now().total
    return None if needed <= available else used + int(_USABLE_SHARE * available)


def _bytes_used(info: TensorInfo, dtype: torch.dtype | None, *, widens: bool) -> int:
    if not info.dtype.is_floating_point:
        return info.nbytes
    itemsize = max(4, info.dtype.itemsize) if widens and dtype is None else (dtype or info.dtype).itemsize
    return info.nbytes // info.dtype.itemsize * itemsize


def spread_out(count: int, total: int) -> list[int]:
    """``count`` of the numbers below ``total``, as evenly as can be."""
    return [n for n in range(total) if (n + 1) * count // total > n * count // total]


def _in_place(weights: Weights, limit: int, origin: str) -> MappedUnits:
    output = [name for name in weights.output if weights.is_used_in_place(name)]
    units = [[weights.tensors[name] for name in names] for names in (*weights.layers, output)]
    sizes = [sum(tensor.nbytes for tensor in unit) for unit in units]
    neighbours = max(map(sum, pairwise([*sizes, sizes[0]])))
    _check_room(limit, Resident.now().total, neighbours, origin)
    return MappedUnits(units, weights.let_go, limit - _MARGIN)


def _in_slots(
    weights: Weights, limit: int, origin: str, config: ModelConfig
) -> tuple[BufferedLayers | None, dict[str, Tensor]]:
    """The slots, if not all layers fit beside one another, and the tensors that the layers are to have."""
    used = 2 * config.num_layers * config.hidden_size * config.max_sequence_length * weights.dtype.itemsize
    used += Resident.now().total + weights.size(weights.output) if weights.on_cpu else weights.size(weights.rest)
    layer = weights.size(weights.layers[0])
    num_kept = min((limit - used - _WORKING_BYTES) // layer, config.num_layers)
    if num_kept < config.num_layers:
        _check_room(limit, used, 2 * layer, origin)
        num_kept -= 2
    streamed = spread_out(config.num_layers - num_kept, config.num_layers)
    found = {
        name: weights.placed(name) for n, names in enumerate(weights.layers) if n not in streamed for name in names
    }
    if not streamed:
        return None, found
    stored = sum(weights.tensors[name].nbytes for n in streamed for name in weights.layers[n])
    pinned = not weights.on_cpu and stored < _USABLE_SHARE * (available_memory() or 0)

    def source(name: str) -> Tensor:
        return weights.tensors[name].pin_memory() if pinned else weights.tensors[name]

    buffered = BufferedLayers(
        {n: {_inner(name): source(name) for name in weights.layers[n]} for n in streamed},
        {_inner(name): weights.dtype_of(name) for name in weights.layers[streamed[0]]},
        weights.device,
        copied=lambda tensor: None if pinned else weights.let_go([tensor]),
    )
    found |= {name: buffered.tensors(n)[_inner(name)] for n in streamed for name in weights.layers[n]}
    return buffered, found


def _inner(name: str) -> str:
    """A tensor's name within its layer."""
    return name.split(".", maxsplit=2)[2]


def _check_room(limit: int, used: int, needed: int, origin: str) -> None:
    used += _WORKING_BYTES
    if limit < used + needed:
        raise ResourceError(
            f"{size_text(limit)} of memory are too little for {origin}: besides its layers there are "
            f"{size_text(used)}, and the two largest parts that follow one another take {size_text(needed)}.",
            f"Give at least {size_text(used + needed)}.",
        )


def _attach(model: GLM, enter: Callable[[int], None], at_fullest: Callable[[], None] | None = None) -> None:
    """Let ``enter`` know of every layer, by its number, before it is used, and of the output layer as the last."""

    def tell(module: nn.Module, n: int) -> None:
        module.register_forward_pre_hook(lambda *_: enter(n))

    for n, layer in enumerate(model.layers):
        tell(layer.get_submodule("input_layernorm"), n)
        if at_fullest is not None:
            layer.get_submodule("mlp.dense_4h_to_h").register_forward_pre_hook(lambda *_: at_fullest())
    tell(model.final_layernorm, len(model.layers))
    model.streamed = True
