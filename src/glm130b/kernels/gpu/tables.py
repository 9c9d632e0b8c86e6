"""How work is cut up for the GPU kernels: small tables, so that nothing is tried out at run time.

The numbers are from ``benchmarks/gpu_decode.py --sweep`` (docs/gpu.md says on which card).
"""

from __future__ import annotations

from dataclasses import dataclass

GEMV_MAX_ROWS = 4
"""Rows of input up to which the matrix-vector kernel multiplies."""

GEMM_MAX_ROWS = 64
"""Rows up to which the matrix-matrix kernel does; beyond, expanding the weights for cuBLAS costs less."""


@dataclass(frozen=True)
class GemvConfig:
    """A program of the matrix-vector kernel.

    Attributes:
        block_n: weight rows.
        block_units: units of 16 bytes of each row taken at a time.
        num_warps: that share them.
        split: stretches that the columns are cut into.
    """

    block_n: int
    block_units: int
    num_warps: int
    split: int = 1


@dataclass(frozen=True)
class GemmConfig:
    """A program of the matrix-matrix kernel.

    Attributes:
        block_m, block_n: rows of the input and of the weights.
        block_bytes: of each weight row taken at a time; a group is a multiple of it.
        num_warps: that share them.
        num_stages: loads under way at once.
    """

    block_m: int
    block_n: int
    block_bytes: int
    num_warps: int
    num_stages: int


def gemv_config(bits: int, num_rows: int, outputs: int, units: int) -> GemvConfig:
    """For ``num_rows`` inputs, ``outputs`` weight rows of ``units`` units of 16 bytes."""
    block_n = 16 if num_rows == 1 else 8
    if outputs < 4096:
        block_n //= 2
    block_units = 32
    while block_units > 4 and block_units // 2 >= units:
        block_units //= 2
    split = 1
    while split < 4 and outputs // block_n * split < 256 and units // (2 * split) >= 2 * block_units:
        split *= 2
    return GemvConfig(block_n, block_units, num_warps=2 if num_rows < 3 else 4, split=split)


def gemm_config(bits: int, num_rows: int, bytes_per_row: int, group_bytes: int | None) -> GemmConfig:
    """For ``num_rows`` inputs; a group is ``group_bytes`` of a weight row, None if scales are by row."""
    block_m = 16
    while block_m < min(num_rows, 64):
        block_m *= 2
    block_bytes = 64 if bits == 4 else 128
    while (group_bytes or bytes_per_row) % block_bytes:
        block_bytes //= 2
    block_n = 32 if block_m == 64 else 64
    return GemmConfig(block_m, block_n, block_bytes, num_warps=4, num_stages=4 if bits == 4 else 3)


def attention_splits(num_pairs: int, capacity: int) -> int:
    """Stretches, a power of two, that the cache's slots are cut into for ``num_pairs`` heads and rows together."""
    splits = 1
    while splits < 16 and num_pairs * splits < 256 and capacity // (2 * splits) >= 128:
        splits *= 2
    return splits
