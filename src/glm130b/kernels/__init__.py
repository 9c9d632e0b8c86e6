"""Products by quantised weights, on CPUs and GPUs."""

from glm130b.kernels.dispatch import half_linear, linear
from glm130b.kernels.plain import dequantize, unpack_int4

__all__ = ["dequantize", "half_linear", "linear", "unpack_int4"]
