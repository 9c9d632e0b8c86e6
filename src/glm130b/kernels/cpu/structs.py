"""The C structures of ``csrc``, made of tensors."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

_TYPES = {torch.float16: 16, torch.bfloat16: 17, torch.float32: 32}
_POINTER, _SIZE = ctypes.c_void_p, ctypes.c_size_t


class Matrix(ctypes.Structure):
    """``Matrix`` of ``csrc/common.h``."""

    _fields_ = (
        ("weight", _POINTER),
        ("scale", _POINTER),
        ("bias", _POINTER),
        ("rows", _SIZE),
        ("columns", _SIZE),
        ("groups", _SIZE),
        ("type", ctypes.c_int),
        ("same_for_any_batch", ctypes.c_int),
    )


class Layer(ctypes.Structure):
    """``Layer`` of ``csrc/step.h``."""

    _fields_ = (
        *((name, _POINTER) for name in ("first_weight", "first_bias", "second_weight", "second_bias")),
        *((name, Matrix) for name in ("query_key_value", "dense", "wide", "narrow")),
    )


class Model(ctypes.Structure):
    """``Model`` of ``csrc/step.h``."""

    _fields_ = (
        ("layers", ctypes.POINTER(Layer)),
        *((name, _SIZE) for name in ("num_layers", "hidden", "heads", "head_size", "ffn")),
        ("alpha", ctypes.c_float),
        ("epsilon", ctypes.c_float),
        ("final_weight", _POINTER),
        ("final_bias", _POINTER),
        ("frequencies", _POINTER),
        ("output", Matrix),
        ("words", Matrix),
    )


class Cache(ctypes.Structure):
    """``Cache`` of ``csrc/step.h``."""

    _fields_ = (
        ("keys", ctypes.POINTER(_POINTER)),
        ("values", ctypes.POINTER(_POINTER)),
        ("sample", _POINTER),
        ("branch", _POINTER),
        ("capacity", _SIZE),
    )


class Tokens(ctypes.Structure):
    """``Tokens`` of ``csrc/step.h``."""

    _fields_ = (
        ("tokens", _POINTER),
        ("positions", _POINTER),
        ("rows", _SIZE),
        ("count", _SIZE),
        ("first", _SIZE),
    )


@dataclass(frozen=True)
class Map:
    """A linear map: weight, its scales if it is quantised, bias; contiguous tensors on the CPU.

    Attributes:
        weight: int8 ``[N, K]``, two columns a byte for 4 bits; or FP16, BF16, FP32 ``[N, K]``.
        scale: FP16 ``[N]`` or ``[N, G]``; None if not quantised.
        bits: 8 or 4, if quantised.
        bias: FP32 ``[N]``.
    """

    weight: Tensor
    scale: Tensor | None = None
    bits: int = 0
    bias: Tensor | None = None

    @property
    def fits(self) -> bool:
        """Whether the kernels take it as it is."""
        held = [part for part in (self.weight, self.scale, self.bias) if part is not None]
        plain = all(part.is_contiguous() and part.device.type == "cpu" and len(part) == len(held[0]) for part in held)
        if self.scale is None:
            known = self.weight.dtype in _TYPES
        else:
            groups = 1 if self.scale.dim() == 1 else self.scale.shape[1]
            divides = groups > 0 and self.weight.shape[1] * 8 // self.bits % groups == 0
            known = (self.weight.dtype, self.scale.dtype) == (torch.int8, torch.float16) and divides
        return plain and known and (self.bias is None or self.bias.dtype == torch.float32)

    def matrix(self, *, same_for_any_batch: bool = False) -> Matrix:
        """As C wants it; holds no reference to the tensors.

        Args:
            same_for_any_batch: compute a row of activations the same, bit for bit, alone and among others.
        """
        rows, stored = self.weight.shape
        return Matrix(
            self.weight.data_ptr(),
            None if self.scale is None else self.scale.data_ptr(),
            None if self.bias is None else self.bias.data_ptr(),
            rows,
            stored * 2 if self.bits == 4 else stored,
            1 if self.scale is None or self.scale.dim() == 1 else self.scale.shape[1],
            self.bits if self.scale is not None else _TYPES[self.weight.dtype],
            same_for_any_batch,
        )


def pointers(tensors: Sequence[Tensor]) -> ctypes.Array[ctypes.c_void_p]:
    """An array of the addresses of tensors' values."""
    return (_POINTER * len(tensors))(*(tensor.data_ptr() for tensor in tensors))
