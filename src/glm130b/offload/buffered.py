"""Weights that stay in main memory or in a mapped file, and of which two layers at a time have a place to be used.

Every streamed layer's tensors are those of one of two *slots*, for good; before the layer computes, its weights are
copied into the slot, and cast on the way where they are stored in another precision. The copy of the next streamed
layer goes on beside the computation: on a GPU in a stream of its own, on a CPU in a thread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

Tensors = Mapping[str, Tensor]


class BufferedLayers:
    """Fills two slots with the weights of the streamed layers, in turn.

    Args:
        layers: weights of each streamed layer, by its number, where they stay.
        dtypes: of a slot's tensors.
        device: of the slots.
        copied: called with each tensor once it has been copied.
    """

    def __init__(
        self,
        layers: Mapping[int, Tensors],
        dtypes: Mapping[str, torch.dtype],
        device: torch.device,
        *,
        copied: Callable[[Tensor], None] = lambda tensor: None,
    ) -> None:
        self._layers, self._device, self._copied = layers, device, copied
        self._order = sorted(layers)
        pattern = layers[self._order[0]]
        self._slots = [
            {name: torch.empty(tensor.shape, dtype=dtypes[name], device=device) for name, tensor in pattern.items()}
            for _ in range(min(2, len(layers)))
        ]
        self._slot_of = {layer: n % 2 for n, layer in enumerate(self._order)}
        self._content: list[tuple[int, Future[Any]] | None] = [None, None]
        self._current = self._next = -1
        self._stream: Any = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="weights")

    def tensors(self, layer: int) -> Tensors:
        """The tensors that a streamed layer computes with; they hold its weights once it has been entered."""
        return self._slots[self._slot_of[layer]]

    def enter(self, layer: int) -> None:
        """To be called before any layer, streamed or not, is used, and after the last one: waits until its weights
        are in their slot, and begins to copy those of the next streamed layer into the other."""
        if layer == self._current:
            return
        self._current = layer
        if layer in self._layers:
            self._begin(layer)
            self._wait(self._slot_of[layer])
            self._next = self._order[(self._order.index(layer) + 1) % len(self._order)]
        if self._next >= 0 and self._slot_of[self._next] != self._slot_of.get(layer):
            self._begin(self._next)

    def _begin(self, layer: int) -> None:
        """Let a copy begin once all that has been asked of the device so far, which may read the slot, is done."""
        slot = self._slot_of[layer]
        content = self._content[slot]
        if content is not None and content[0] == layer and not _failed(content[1]):
            return
        ready = None if self._stream is None else torch.cuda.current_stream(self._device).record_event()
        self._content[slot] = layer, self._worker.submit(self._copy, layer, ready)

    @torch.no_grad()
    def _copy(self, layer: int, ready: Any) -> Any:
        slot = self._slots[self._slot_of[layer]]
        if self._stream is None:
            for name, tensor in self._layers[layer].items():
                slot[name].copy_(tensor)
                self._copied(tensor)
            return None
        with torch.cuda.stream(self._stream):
            self._stream.wait_event(ready)
            for name, tensor in self._layers[layer].items():
                # Of memory that is not pinned this returns when the bytes have been read.
                slot[name].copy_(tensor, non_blocking=True)
                self._copied(tensor)
            return self._stream.record_event()

    def _wait(self, slot: int) -> None:
        content = self._content[slot]
        copied = None if content is None else content[1].result()
        if copied is not None:
            torch.cuda.current_stream(self._device).wait_event(copied)


def _failed(future: Future[Any]) -> bool:
    return future.done() and future.exception() is not None
