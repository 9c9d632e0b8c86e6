"""Products by quantised weights on GPUs: Triton kernels for few rows, cuBLAS on expanded weights for many.

Without Triton, and for shapes the kernels do not take, PyTorch's operators expand the weights.
"""

from __future__ import annotations

import warnings
from functools import cache
from importlib.util import find_spec

import torch
import torch.nn.functional as F
from torch import Tensor

from glm130b.kernels.gpu.tables import GEMV_MAX_ROWS, gemm_max_rows
from glm130b.kernels.plain import dequantize

__all__ = ["GEMV_MAX_ROWS", "has_triton", "linear", "takes_gemv"]

_SCRATCH_BYTES = 1 << 26
"""Of weights expanded at a time."""


@cache
def has_triton() -> bool:
    """Whether the kernels can be used; says so once if they cannot."""
    if find_spec("triton") is not None:
        return True
    warnings.warn(
        "Triton is not installed: quantised weights are expanded by PyTorch, which is several times slower.",
        stacklevel=2,
    )
    return False


def takes_gemv(weight: Tensor, scale: Tensor) -> bool:
    """Whether the matrix-vector kernel takes these weights: rows and groups are whole units of 16 bytes."""
    groups = scale.shape[1] if scale.dim() == 2 else 1
    return has_triton() and weight.is_contiguous() and scale.is_contiguous() and weight.shape[1] % (16 * groups) == 0


def linear(x: Tensor, weight: Tensor, scale: Tensor, bits: int, bias: Tensor | None = None) -> Tensor:
    """``x W^T + b`` on a GPU; arguments as ``glm130b.kernels.linear`` has them."""
    flat = x.reshape(-1, x.shape[-1])
    return _flat(flat, weight, scale, bits, bias).view(*x.shape[:-1], weight.shape[0])


def _flat(x: Tensor, weight: Tensor, scale: Tensor, bits: int, bias: Tensor | None) -> Tensor:
    if takes_gemv(weight, scale):
        if 0 < len(x) <= GEMV_MAX_ROWS:
            from glm130b.kernels.gpu.gemv import gemv

            return gemv(x, weight, scale, bits, bias)
        group_bytes = weight.shape[1] // scale.shape[1] if scale.dim() == 2 else None
        halves = x.dtype in (torch.float16, torch.bfloat16)
        if 0 < len(x) <= gemm_max_rows(group_bytes) and halves and _has_tensor_cores(x.device):
            from glm130b.kernels.gpu.gemm import gemm

            return gemm(x, weight, scale, bits, bias)
    return _through_expanded(x, weight, scale, bits, bias)


def _has_tensor_cores(device: torch.device) -> bool:
    """Whether Triton uses them: from compute capability 8.0. Its interpreter, on a CPU, does as if."""
    return device.type == "cpu" or torch.cuda.get_device_capability(device) >= (8, 0)


def _through_expanded(x: Tensor, weight: Tensor, scale: Tensor, bits: int, bias: Tensor | None) -> Tensor:
    rows = weight.shape[0]
    step = max(1, _SCRATCH_BYTES // (x.shape[1] * x.element_size()))
    out = x.new_empty(len(x), rows)
    for start in range(0, rows, step):
        block = slice(start, start + step)
        values = _expand(weight[block], scale[block], bits, x.dtype)
        out[:, block] = F.linear(x, values, None if bias is None else bias[block])
    return out


def _expand(weight: Tensor, scale: Tensor, bits: int, dtype: torch.dtype) -> Tensor:
    if has_triton() and weight.is_contiguous() and scale.is_contiguous():
        from glm130b.kernels.gpu.expand import expand

        return expand(weight, scale, bits, dtype)
    return dequantize(weight, scale, bits).to(dtype)
