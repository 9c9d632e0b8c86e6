"""A model's tensors as they lie on the host, and what is to become of them."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from functools import cached_property

import torch
from torch import Tensor

from glm130b.model import GLM, checked_tensors
from glm130b.offload.pages import MappedFiles

_EMBEDDING = "word_embeddings.weight"
_OUTPUT = ("output.weight", "output.weight_scale")
_HALF = (torch.float16, torch.bfloat16)
_READ_BYTES = 1 << 24
"""Read through, if they are verified, before their pages are let go."""


class Weights:
    """The tensors of a model; of those in mapped files no page is held when this is made.

    Args:
        tensors: by name; see ``checked_tensors`` for ``origin`` and errors.
        dtype: of what is not quantised; None for the stored one, but FP32 for half precision on a CPU.
        device: where they are to be used.
    """

    def __init__(
        self,
        model: GLM,
        tensors: Iterable[tuple[str, Tensor]],
        origin: str,
        dtype: torch.dtype | None,
        device: torch.device,
    ) -> None:
        self.tensors: dict[str, Tensor] = {}
        read: list[Tensor] = []
        for name, tensor in checked_tensors(model, tensors, origin):
            # A vector would keep pages of its neighbours in the file.
            self.tensors[name] = tensor.clone() if _is_vector(name, tensor) else tensor
            read.append(tensor)
            if sum(tensor.nbytes for tensor in read) >= _READ_BYTES:
                MappedFiles().let_go(read)
                read = []
        MappedFiles().let_go(self.tensors.values())
        self.device, self.on_cpu, self.num_layers = device, device.type == "cpu", len(model.layers)
        stored = self.tensors[_EMBEDDING].dtype
        self.dtype = dtype or (torch.float32 if self.on_cpu and stored in _HALF else stored)
        self.keeps_half_embedding = self.on_cpu and self.dtype == torch.float32 and stored in _HALF
        """Rows of the embedding are cast when they are looked up, products with it a stretch at a time."""
        self._files = MappedFiles()

    @cached_property
    def layers(self) -> list[list[str]]:
        """Names of each layer's matrices and their scales: what takes the memory."""
        found: list[list[str]] = [[] for _ in range(self.num_layers)]
        for name, tensor in self.tensors.items():
            if name.startswith("layers.") and not _is_vector(name, tensor):
                found[int(name.split(".")[1])].append(name)
        return found

    @property
    def output(self) -> list[str]:
        """Names of what makes logits of hidden states: the quantised output matrix, if there is one, or the
        embedding."""
        return [name for name in _OUTPUT if name in self.tensors] or [_EMBEDDING]

    @property
    def rest(self) -> list[str]:
        """Names of all that is not a layer's matrix or its scale."""
        return sorted(self.tensors.keys() - {name for layer in self.layers for name in layer})

    def is_used_in_place(self, name: str) -> bool:
        """Whether the tensor lies in a mapped file and is used just as it is there."""
        tensor = self.tensors[name]
        return self.on_cpu and tensor.dtype == self.dtype_of(name) and self._files.hold(tensor)

    @property
    def lies_in_memory(self) -> bool:
        """Whether layers take up the memory in which they are to be used: then nothing can be saved any more."""
        known = sys.platform == "linux"
        return known and self.on_cpu and not all(self._files.hold(self.tensors[n]) for its in self.layers for n in its)

    def let_go(self, tensors: Iterable[Tensor]) -> None:
        """Unmap the pages of those that lie in a mapped file."""
        self._files.let_go(tensors)

    def dtype_of(self, name: str) -> torch.dtype:
        """The precision in which a tensor is used."""
        tensor = self.tensors[name]
        quantized = name.endswith(".weight_scale") or not tensor.is_floating_point()
        return tensor.dtype if quantized or (name == _EMBEDDING and self.keeps_half_embedding) else self.dtype

    def placed(self, name: str) -> Tensor:
        """The tensor in the precision and the place where it is used; the stored one if that is all right."""
        return self.tensors[name].to(self.device, self.dtype_of(name))

    def size(self, names: Iterable[str]) -> int:
        """Bytes of tensors in the precision in which they are used."""
        return sum(self.tensors[name].numel() * self.dtype_of(name).itemsize for name in names)


def _is_vector(name: str, tensor: Tensor) -> bool:
    """Whether the tensor is a bias or belongs to a norm."""
    return tensor.dim() == 1 and not name.endswith(".weight_scale")
