"""How work is cut up for the GPU kernels: small tables, so that nothing is tried out at run time.

The numbers are from ``benchmarks/gpu_decode.py --parts bandwidth sweep`` (docs/gpu.md says on which card).
"""

from __future__ import annotations

from dataclasses import dataclass

GEMV_MAX_ROWS = 2
"""Rows of input up to which the matrix-vector kernel multiplies; on 4 rows the matrix-matrix kernel is faster."""


@dataclass(frozen=True)
class GemvConfig:
    """A program of the matrix-vector kernel.

    Attributes:
        block_n: weight rows.
        block_units: units of 16 bytes of each row taken at a time.
        num_warps: that share them.
        split: stretches that the columns are cut into.
        num_stages: loads under way at once, through shared memory; 1 leaves it to the registers.
    """

    block_n: int
    block_units: int
    num_warps: int
    split: int = 1
    num_stages: int = 1


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


def gemm_max_rows(group_bytes: int | None) -> int:
    """Rows up to which the matrix-matrix kernel multiplies; beyond, expanding the weights for cuBLAS costs less."""
    return 128 if group_bytes is None or group_bytes >= 32 else 32


def gemv_config(bits: int, num_rows: int, outputs: int, units: int, *, grouped: bool = False) -> GemvConfig:
    """For ``num_rows`` inputs, ``outputs`` weight rows of ``units`` units of 16 bytes; ``grouped`` as the scales are.

    Many outputs keep the card busy by their number; for fewer, a program takes more of each row at a time.
    """
    if num_rows > 1:
        block_n, block_units, num_warps = 8 if outputs >= 4096 else 4, 32, 2 if bits == 4 else 4
    elif outputs >= 8192:
        block_n = 16 if bits == 4 and (grouped or outputs >= 16384) else 8
        block_units, num_warps = 32, 4 if block_n == 16 and not grouped else 2
    else:
        block_n, block_units, num_warps = 8 if outputs >= 4096 else 4, 128 if units >= 256 else 64, 4
    while block_units > 4 and block_units // 2 >= units:
        block_units //= 2
    split = 1
    while split < 4 and outputs // block_n * split < 256 and units // (2 * split) >= 2 * block_units:
        split *= 2
    return GemvConfig(block_n, block_units, num_warps, split)


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
    while splits < 16 and num_pairs * splits < 512 and capacity // (2 * splits) >= 32:
        splits *= 2
    return splits
