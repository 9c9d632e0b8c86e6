"""Keys and values of the tokens read so far."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from glm130b.config import ModelConfig


class KVCache:
    """Fixed room for ``capacity`` tokens of ``batch`` texts.

    A slot is an index into this room and not a position: answers to a [MASK] repeat one position, and
    texts of unequal length are padded (``sample`` -1). ``sample`` and ``branch`` of every slot are kept,
    because who sees whom follows from them alone.

    Attributes:
        keys, values: per layer ``[batch, heads, capacity, head size]``; keys are already rotated.
        sample, branch: ``[batch, capacity]`` integers; what is not written yet is hidden by its slot.
        length: slots in use.
    """

    def __init__(
        self,
        config: ModelConfig,
        *,
        batch: int,
        capacity: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        layer_devices: Sequence[torch.device | str] | None = None,
    ) -> None:
        """Make room on ``device``; keys and values on ``layer_devices``, if the layers lie elsewhere."""
        shape = (batch, config.num_heads, capacity, config.head_size)
        places = layer_devices or [device] * config.num_layers
        self.keys = [torch.zeros(shape, dtype=dtype, device=place) for place in places]
        self.values = [torch.zeros(shape, dtype=dtype, device=place) for place in places]
        self.sample = torch.full((batch, capacity), -1, dtype=torch.long, device=device)
        self.branch = torch.zeros((batch, capacity), dtype=torch.long, device=device)
        self.length = 0

    @property
    def capacity(self) -> int:
        """Slots there are."""
        return self.sample.shape[1]

    def reserve(self, sample: Tensor, branch: Tensor) -> slice:
        """Take the next slots for tokens ``[batch, length]`` and return them.

        Raises:
            ValueError: the room is too small.
        """
        end = self.length + sample.shape[1]
        if end > self.capacity:
            raise ValueError(f"the cache holds {self.capacity} tokens, {end} are needed")
        slots = slice(self.length, end)
        self.sample[:, slots] = sample
        self.branch[:, slots] = branch
        self.length = end
        return slots

    def truncate(self, length: int) -> None:
        """Forget all but the first ``length`` slots; the next tokens overwrite the others."""
        if not 0 <= length <= self.length:
            raise ValueError(f"the cache holds {self.length} tokens, not {length} or more")
        self.length = length

    def take(self, rows: Tensor, *, from_slot: int = 0) -> None:
        """Let row i be what row ``rows[i]`` was; rows may repeat, and there may be more or fewer than before.

        Args:
            rows: integers.
            from_slot: leave earlier slots alone, where all rows hold the same.

        Raises:
            ValueError: with ``from_slot``, the number of rows changes.
        """
        if from_slot and len(rows) != len(self.sample):
            raise ValueError("slots can only be left alone while the number of rows stays")
        if from_slot:
            slots = slice(from_slot, self.length)
            for cached in (*self.keys, *self.values):
                cached[:, :, slots] = cached[rows.to(cached.device), :, slots]
            for integers in (self.sample, self.branch):
                integers[:, slots] = integers[rows, slots]
            return
        for layer, (keys, values) in enumerate(zip(self.keys, self.values, strict=True)):
            here = rows.to(keys.device)
            self.keys[layer], self.values[layer] = keys[here], values[here]
        self.sample, self.branch = self.sample[rows], self.branch[rows]

    def store(self, layer: int, slots: slice, k_BhSd: Tensor, v_BhSd: Tensor) -> tuple[Tensor, Tensor]:
        """Write one layer's new keys and values; return all there are so far."""
        self.keys[layer][:, :, slots] = k_BhSd
        self.values[layer][:, :, slots] = v_BhSd
        return self.keys[layer][:, :, : slots.stop], self.values[layer][:, :, : slots.stop]
