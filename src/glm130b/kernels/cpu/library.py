"""The compiled kernels, loaded and checked."""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from glm130b.kernels.cpu.build import NoKernelsError, library_path
from glm130b.kernels.cpu.structs import Cache, Map, Matrix, Model, Tokens
from glm130b.kernels.plain import dequantize

_FUNCTIONS = {
    "glm_begin": (None, []),
    "glm_supported": (ctypes.c_int, []),
    "glm_body": (ctypes.c_char_p, []),
    "glm_linear": (
        ctypes.c_int,
        [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.POINTER(Matrix), ctypes.c_int],
    ),
    "glm_step": (
        ctypes.c_int,
        [ctypes.POINTER(Model), ctypes.POINTER(Cache), ctypes.POINTER(Tokens), ctypes.c_void_p, ctypes.c_int],
    ),
    "glm_read": (ctypes.c_uint64, [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]),
}


_NO_SUCH_TOKEN = -2


class Library:
    """A library that does what it should.

    Raises:
        NoKernelsError: it cannot be loaded, is for another CPU, or computes something else.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._threads_of: int | None = None
        try:
            self._library = ctypes.CDLL(str(path))
            for name, (result, arguments) in _FUNCTIONS.items():
                function = getattr(self._library, name)
                function.restype, function.argtypes = result, arguments
        except (OSError, AttributeError) as error:
            raise NoKernelsError(f"{path} cannot be loaded: {error}") from None
        if not self._library.glm_supported():
            raise NoKernelsError(f"{path} was built for another CPU")
        self._library.glm_begin()
        self._check()

    @property
    def body(self) -> str:
        """Which instructions it uses, in words."""
        name: bytes = self._library.glm_body()
        return name.decode()

    def linear(self, x: Tensor, weights: Map) -> Tensor:
        """``x W^T + b``, FP32 ``[M, K]`` to ``[M, N]``."""
        matrix, x = weights.matrix(), x.contiguous()
        if x.shape[1] != matrix.columns:
            raise ValueError(f"{x.shape[1]} values for {matrix.columns} columns")
        out = torch.empty(len(x), matrix.rows)
        self._call("glm_linear", out.data_ptr(), x.data_ptr(), len(x), matrix)
        return out

    def step(self, model: Model, cache: Cache, tokens: Tokens) -> Tensor:
        """Logits FP32 ``[rows * count, V]`` for what follows each of the tokens."""
        logits = torch.empty(tokens.rows * tokens.count, model.output.rows)
        self._call("glm_step", model, cache, tokens, logits.data_ptr())
        return logits

    def read(self, memory: Tensor) -> None:
        """Read all bytes of a tensor as fast as this machine can, for comparison."""
        self._library.glm_read(memory.data_ptr(), memory.nbytes, torch.get_num_threads())

    def _call(self, name: str, *arguments: object) -> None:
        threads, process = torch.get_num_threads(), os.getpid()
        if self._threads_of not in (None, process):
            threads = 1  # the threads of OpenMP stay behind in the parent of a forked process
        elif threads > 1:
            self._threads_of = process
        code = getattr(self._library, name)(*arguments, threads)
        if code == _NO_SUCH_TOKEN:
            raise IndexError("a token is no row of the embedding")
        if code:
            raise MemoryError(f"{name} found no memory for its activations")

    def _check(self) -> None:
        draws = torch.Generator().manual_seed(0)
        for bits, groups in ((4, 1), (4, 4), (8, 1), (8, 4)):
            rows, columns = 37, 512
            weight = torch.randint(-127, 128, (rows, columns * bits // 8), generator=draws, dtype=torch.int8)
            scale = torch.rand(rows, groups, generator=draws).half()
            scale = scale.squeeze(1) if groups == 1 else scale
            values = dequantize(weight, scale, bits).double()
            for batch in (1, 4, 20):
                x = torch.randn(batch, columns, generator=draws)
                exact = x.double() @ values.T
                error = (self.linear(x, Map(weight, scale, bits)) - exact).norm() / exact.norm()
                if not error < 1e-3:
                    raise NoKernelsError(f"{self.path} fails its self-check")


@cache
def library() -> Library | None:
    """The kernels for this machine; None, and one line on standard error, if there are none."""
    try:
        return Library(library_path())
    except NoKernelsError as reason:
        line = f"Quantised weights are multiplied by PyTorch's operators, in BF16 and more slowly: {reason}."
        print(line, file=sys.stderr)
        return None
