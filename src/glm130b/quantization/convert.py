"""From a stream of named tensors to a stream of named quantised tensors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from torch import Tensor

from glm130b.errors import ModelError
from glm130b.model import LINEAR_NAMES, Bits
from glm130b.quantization.absmax import quantize_rows


def is_quantizable(name: str) -> bool:
    """Whether the tensor is the weight of a block's linear map; embeddings, norms and biases are not."""
    return any(name.endswith(f".{linear}.weight") for linear in LINEAR_NAMES)


def quantize_tensors(tensors: Iterable[tuple[str, Tensor]], bits: Bits) -> Iterator[tuple[str, Tensor]]:
    """Quantise what is quantisable, one tensor at a time; each gains a sibling ``<name>_scale``.

    Raises:
        ModelError: a weight that cannot be quantised, by name.
    """
    for name, tensor in tensors:
        if not is_quantizable(name):
            yield name, tensor
            continue
        try:
            integers, scale = quantize_rows(tensor, bits)
        except ValueError as error:
            raise ModelError(
                f"{name} cannot be quantised to {bits} bits: {error}.", "Use other bits or weights."
            ) from None
        yield name, integers
        yield f"{name}_scale", scale
