"""Decoding on a GPU without its host: one step on tensors that stay where they are, replayed as a CUDA graph.

Token, position and slot are numbers on the device, so the same graph serves every step; a token is chosen inside it
and is the next step's input. The host reads the tokens a few steps behind. On a CPU the same step runs as it is.
"""

from __future__ import annotations

import gc
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from glm130b.inference.fused import fits_fused, fused_hidden
from glm130b.inference.sampling import Sampling, draw
from glm130b.model import GLM, KVCache, LayerInputs, Visibility, inverse_frequencies, rotary_tables, visible

_BUCKET = 256
_EAGER_STEPS = 3
_LAG = 2


class _FixedCache(KVCache):
    """The same cache, written at a slot that is known on the device alone, and read up to a fixed length."""

    def __init__(self, cache: KVCache, slot: Tensor, length: int) -> None:
        self.keys, self.values, self.sample, self.branch = cache.keys, cache.values, cache.sample, cache.branch
        self.length, self._slot = length, slot

    def store(self, layer: int, slots: slice, k_BhSd: Tensor, v_BhSd: Tensor) -> tuple[Tensor, Tensor]:
        """Write one token's keys and values; return those of the fixed length."""
        keys, values = self.keys[layer], self.values[layer]
        keys.index_copy_(2, self._slot.to(keys.device), k_BhSd)
        values.index_copy_(2, self._slot.to(values.device), v_BhSd)
        return keys[:, :, slots], values[:, :, slots]


class StaticStep:
    """Reads one token of each row into the cache; shapes do not depend on how full it is.

    Attributes:
        columns: int64 ``[4, B, 1]``: the tokens to read, as ``Stepper`` has them.
        slot: int64 ``[1]``: where they go.
    """

    def __init__(self, model: GLM, cache: KVCache, *, fused: bool | None = None) -> None:
        """Prepare for a model and a cache; ``fused`` says whether by ``fused_hidden``, default where it fits a GPU."""
        self._model, self._cache = model, cache
        device = cache.sample.device
        self.columns = torch.zeros(4, len(cache.sample), 1, dtype=torch.long, device=device)
        self.slot = torch.full((1,), cache.length, device=device)
        self._fused = device.type == "cuda" and fits_fused(model) if fused is None else fused
        config = model.config
        self._arrived = torch.zeros(len(cache.sample) * config.num_heads, dtype=torch.int32, device=device)
        self._frequencies = inverse_frequencies(config.head_size, config.rope_base, config.rope_frequencies).to(device)

    def bucket(self, length: int) -> int:
        """The length that a step is made for which has so many slots in use, its own included."""
        capacity = self._cache.capacity
        return capacity if self._fused else min(capacity, -(-length // _BUCKET) * _BUCKET)

    def __call__(self, length: int) -> Tensor:
        """Read ``columns`` at ``slot``, which lies below ``length``; logits ``[B, V]``."""
        tokens, position_ids, sample, branch = self.columns
        cache = self._cache
        cache.sample.index_copy_(1, self.slot, sample)
        cache.branch.index_copy_(1, self.slot, branch)
        tables = rotary_tables(position_ids, self._frequencies)
        if self._fused:
            hidden = fused_hidden(self._model, cache, tokens[:, 0], tables, self.slot, self._arrived)
            return self._model.logits(hidden)
        k_slot = torch.arange(length, device=self.slot.device)
        mask_BK = visible(sample, branch, self.slot, cache.sample[:, :length], cache.branch[:, :length], k_slot)
        mask_BK = mask_BK & (k_slot <= self.slot)
        visibility, fixed = Visibility(mask=mask_BK[:, None, None]), _FixedCache(cache, self.slot, length)
        inputs = LayerInputs(tables, visibility, slice(0, length), fixed)
        x_B1H = self._model.embed(tokens)
        for layer, device in zip(self._model.layers, self._model.layer_devices, strict=True):
            if device != x_B1H.device:
                x_B1H, inputs = x_B1H.to(device), inputs.to(device)
            x_B1H = layer(x_B1H, inputs)
        return self._model.logits(self._model.final_layernorm(x_B1H.to(tokens.device)))[:, 0]


class _Graphs:
    """A step at each bucket's length, as a CUDA graph from the fourth time on; on a CPU, as it is.

    The times before compile and load what the step wants, which cannot be done while a graph is made. A graph holds
    the addresses it was made with, so whatever the step reads and writes has to stay where it is.
    """

    def __init__(self, step: Callable[[int], None], device: torch.device) -> None:
        self._step, self._device = step, device
        self._graphs: dict[int, torch.cuda.CUDAGraph] = {}
        self._steps: Counter[int] = Counter()

    def run(self, length: int) -> None:
        self._steps[length] += 1
        if self._device.type != "cuda" or self._steps[length] <= _EAGER_STEPS:
            self._step(length)
            return
        if length not in self._graphs:
            graph = torch.cuda.CUDAGraph()
            with (
                torch.cuda.device(self._device),
                _no_garbage_collected(),
                torch.cuda.graph(graph, capture_error_mode="thread_local"),
            ):
                self._step(length)
            self._graphs[length] = graph
        self._graphs[length].replay()


@contextmanager
def _no_garbage_collected() -> Iterator[None]:
    """What is given back to a GPU while a graph is made spoils it."""
    collects = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


class GraphStepper:
    """``Stepper`` by a static step."""

    def __init__(self, model: GLM, cache: KVCache, *, fused: bool | None = None) -> None:
        self._model, self._cache = model, cache
        self._step = StaticStep(model, cache, fused=fused)
        self._logits = torch.empty(len(cache.sample), model.config.vocab_size, dtype=model.dtype).to(
            cache.sample.device
        )
        self._graphs = _Graphs(self._read, self._logits.device)

    def __call__(self, columns: Tensor) -> Tensor:
        """Read a token of each row; see ``Stepper``."""
        _check_room(self._cache, 1)
        self._step.columns.copy_(columns)
        self._step.slot.fill_(self._cache.length)
        self._cache.length += 1
        self._graphs.run(self._step.bucket(self._cache.length))
        return self._logits

    def ahead(self, columns: Tensor) -> Tensor:
        """Read several tokens of one row, by the model itself; see ``Stepper``."""
        logits: Tensor = self._model(*columns, cache=self._cache)
        return logits[0]

    def _read(self, length: int) -> None:
        self._logits.copy_(self._step(length))


def fits_graph(model: GLM, cache: KVCache) -> bool:
    """Whether model and cache are all on one GPU, as a graph needs them."""
    return len({*model.layer_devices, cache.sample.device}) == 1 and cache.sample.is_cuda and not model.streamed


def graph_stepper(model: GLM, cache: KVCache) -> GraphStepper | None:
    """A stepper by CUDA graphs; None if they cannot serve."""
    return GraphStepper(model, cache) if fits_graph(model, cache) else None


class GraphDecoder:
    """Answers that grow on the device, the host following a few tokens behind."""

    def __init__(
        self,
        model: GLM,
        cache: KVCache,
        logits: Tensor,
        position_ids: Tensor,
        advances: Tensor,
        *,
        sampling: Sampling,
        uniforms: Tensor,
        banned: Tensor | None = None,
        fused: bool | None = None,
    ) -> None:
        """Go on behind what the cache holds.

        Args:
            logits: of each row's first token, ``[B, V]``.
            position_ids: of each row's first token, integers ``[B]``.
            advances: how much the position grows with each token, ``[B]``: 0 for [MASK], 1 for [gMASK].
            uniforms: the numbers to draw with, ``[B, count]``; as many tokens are there at most, and the cache has
                room for them.
            banned: ids never to be chosen, on the device.

        Raises:
            ValueError: the cache has no room for as many.
        """
        _check_room(cache, uniforms.shape[1])
        device = cache.sample.device
        self._cache, self._sampling, self._banned = cache, sampling, banned
        self._step = StaticStep(model, cache, fused=fused)
        self._step.columns[1, :, 0] = position_ids
        self._step.columns[3] = 1
        self._logits = logits.clone()
        self._advances = advances.to(device)[:, None]
        self._uniforms = uniforms.T.to(device).contiguous()
        self._count = torch.zeros(1, dtype=torch.long, device=device)
        self._chosen = torch.zeros(self._uniforms.shape, dtype=torch.long, device=device)
        self._graphs = _Graphs(self._choose_and_read, device)

    def __iter__(self) -> Iterator[list[int]]:
        """The tokens of all rows, one of each at a time; stop taking them when all have ended."""
        on_gpu = self._chosen.is_cuda
        on_host = torch.zeros(self._chosen.shape, dtype=torch.long, pin_memory=on_gpu)
        under_way: deque[tuple[int, torch.cuda.Event | None]] = deque()
        for n in range(len(self._chosen)):
            self._cache.length += 1
            with torch.inference_mode():
                self._graphs.run(self._step.bucket(self._cache.length))
                on_host[n].copy_(self._chosen[n], non_blocking=on_gpu)
            under_way.append((n, torch.cuda.current_stream().record_event() if on_gpu else None))
            if len(under_way) > _LAG:
                yield _arrived(on_host, *under_way.popleft())
        while under_way:
            yield _arrived(on_host, *under_way.popleft())

    def _choose_and_read(self, length: int) -> None:
        tokens = draw(self._logits, self._uniforms.index_select(0, self._count)[0], self._sampling, self._banned)
        self._chosen.index_copy_(0, self._count, tokens[None])
        self._step.columns[0, :, 0] = tokens
        self._logits.copy_(self._step(length))
        self._step.columns[1] += self._advances
        self._step.slot += 1
        self._count += 1


def _check_room(cache: KVCache, count: int) -> None:
    if cache.length + count > cache.capacity:
        raise ValueError(f"the cache holds {cache.capacity} tokens, {cache.length + count} are needed")


def _arrived(on_host: Tensor, n: int, event: torch.cuda.Event | None) -> list[int]:
    if event is not None:
        event.synchronize()
    tokens: list[int] = on_host[n].tolist()
    return tokens
