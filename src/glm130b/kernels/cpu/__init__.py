"""Kernels in C for CPUs, compiled at first use.

``csrc/`` has bodies for AVX512-VNNI, with AMX for many rows where there is AMX, for AVX2, and portable C.
"""

from glm130b.kernels.cpu.build import NoKernelsError, build, library_path
from glm130b.kernels.cpu.library import Library, library
from glm130b.kernels.cpu.structs import Cache, Layer, Map, Matrix, Model, Tokens, pointers

__all__ = [
    "Cache",
    "Layer",
    "Library",
    "Map",
    "Matrix",
    "Model",
    "NoKernelsError",
    "Tokens",
    "build",
    "library",
    "library_path",
    "pointers",
]
