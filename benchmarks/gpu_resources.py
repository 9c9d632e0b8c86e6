"""Registers, stack and shared memory of the GPU kernels, compiled for each generation of cards; no GPU is needed.

A kernel that needs a stack has spilled registers or indexes an array at run time: both would make it slow. The
table of docs/gpu.md is what this prints.
"""

from __future__ import annotations

import argparse
import itertools
import re
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from glm130b.kernels.gpu import expand, gemm, gemv, norm, token
from glm130b.kernels.gpu.tables import gemm_config, gemv_config

SHARED_LIMITS = {75: 64, 80: 163, 86: 99, 89: 99, 90: 227}
"""KiB of shared memory that a program may take, by compute capability."""


@dataclass(frozen=True)
class Kernel:
    """One way in which a kernel is compiled."""

    label: str
    function: Any
    types: dict[str, str]
    constants: dict[str, Any]
    num_warps: int
    num_stages: int = 3
    tensor_cores: bool = False


def kernels() -> Iterator[Kernel]:
    """What a model of 4096 hidden units and heads of 128 runs, in FP16."""
    pointers = {"x_ptr": "*fp16", "scale_ptr": "*fp16", "bias_ptr": "*fp16", "out_ptr": "*fp16"}
    following = dict.fromkeys(("norm_out_ptr", "residual_ptr", "norm_weight_ptr", "norm_bias_ptr"), "*fp16")
    following |= {"arrived_ptr": "*i32", "alpha": "fp32", "epsilon": "fp32"}
    vector = pointers | {"weight_ptr": "*i32", "N": "i32", "UNITS": "i32", "SPLIT_UNITS": "i32"} | following
    shapes = {"": (12288, 4096), ", GeGLU": (21760, 4096), ", norm": (4096, 4096), ", norm, long rows": (4096, 10880)}
    formats = {"INT4 row": (4, None), "INT4 g128": (4, 128), "INT4 g32": (4, 32), "INT8 row": (8, None)}
    for name, (bits, group) in formats.items():
        group_bytes = None if group is None else group * bits // 8
        for rows, (end, (outputs, columns)) in itertools.product((1, 2), shapes.items()):
            units = columns * bits // 128
            config = gemv_config(bits, rows, outputs, units, grouped=group is not None)
            has_norm = "norm" in end and 32 * config.num_warps * gemv._NORM_VALUES >= outputs
            yield Kernel(
                f"gemv, {name}, {rows} row{'s' * (rows > 1)}{end}",
                gemv._gemv,
                vector | ({"out_ptr": "*fp32"} if has_norm else {}),
                {
                    "M": rows, "BITS": bits, "GROUP_UNITS": (group_bytes or 0) // 16, "BIAS": True,
                    "GEGLU": end == ", GeGLU", "EVEN": units % config.block_units == 0, "BLOCK_N": config.block_n,
                    "BLOCK_UNITS": config.block_units, "STAGES": config.num_stages,
                    "NORM": 4096 if has_norm else 0, "SPLIT": 1,
                },
                config.num_warps,
            )  # fmt: skip
        for rows in (16, 64):
            tile = gemm_config(bits, rows, 4096 * bits // 8, group_bytes)
            yield Kernel(
                f"gemm, {name}, {rows} rows",
                gemm._gemm,
                pointers | {"weight_ptr": "*i8", "M": "i32", "N": "i32", "BYTES": "i32"},
                {
                    "BITS": bits, "GROUP_BYTES": group_bytes or 0, "BIAS": True,
                    "BLOCK_M": tile.block_m, "BLOCK_N": tile.block_n, "BLOCK_BYTES": tile.block_bytes,
                },
                tile.num_warps,
                tile.num_stages,
                tensor_cores=True,
            )  # fmt: skip
    for bits in (4, 8):
        types = {"weight_ptr": "*i8", "scale_ptr": "*fp16", "out_ptr": "*fp16"}
        types |= {"SIZE": "i32", "BYTES": "i32", "GROUP_BYTES": "i32"}
        yield Kernel(f"expand, INT{bits}", expand._expand, types, {"BITS": bits, "BLOCK": 1024}, 4)
    attend = dict.fromkeys(("qkv_ptr", "cos_ptr", "sin_ptr", "key_ptr", "value_ptr"), "*fp16")
    attend |= {"sample_ptr": "*i64", "branch_ptr": "*i64", "slot_ptr": "*i64", "stats_ptr": "*fp32"}
    attend |= {"HEADS": "i32", "CAPACITY": "i32", "scale": "fp32"}
    attend |= {"part_ptr": "*fp32", "out_ptr": "*fp16", "arrived_ptr": "*i32"}
    for splits in (1, 16):
        constants = {"SPLITS": splits, "SIZE": 128, "BLOCK": token._BLOCK_SLOTS}
        yield Kernel(f"attention, {splits} stretch{'es' * (splits > 1)}", token._attend, attend, constants, 4)
    types = dict.fromkeys(("y_ptr", "residual_ptr", "weight_ptr", "bias_ptr", "out_ptr"), "*fp16")
    types |= {"alpha": "fp32", "epsilon": "fp32", "SIZE": "i32"}
    yield Kernel("norm of 4096", norm._add_and_norm, types, {"BLOCK": 4096}, 8)


@dataclass(frozen=True)
class Resources:
    """What the assembler gave a kernel: registers a thread, bytes of stack a thread, bytes of shared memory."""

    registers: int
    stack: int
    shared: int


def compiled(kernel: Kernel, capability: int) -> Resources:
    """Compile for a card without having it."""
    names = kernel.function.arg_names
    signature = {name: kernel.types.get(name, "constexpr") for name in names}
    aligned = [n for n, name in enumerate(names) if signature[name].startswith(("*", "i32"))]
    source = ASTSource(
        kernel.function,
        signature,
        constexprs=kernel.constants,
        attrs={(n,): [["tt.divisibility", 16]] for n in aligned},
    )
    options = {"num_warps": kernel.num_warps, "num_stages": kernel.num_stages}
    found = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        Path(file.name).write_bytes(found.asm["cubin"])
        tool = [triton.knobs.nvidia.cuobjdump.path, "--dump-resource-usage", file.name]
        said = subprocess.run(tool, capture_output=True, text=True, check=True).stdout
    usage = re.search(r"REG:(\d+) STACK:(\d+)", said)
    assert usage is not None, said
    return Resources(int(usage[1]), int(usage[2]), found.metadata.shared)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--capabilities", nargs="+", type=int, choices=list(SHARED_LIMITS), default=list(SHARED_LIMITS))
    options = parser.parse_args()
    print("| kernel | " + " | ".join(f"sm_{capability}" for capability in options.capabilities) + " |")
    print("|---|" + "---|" * len(options.capabilities))
    for kernel in kernels():
        cells = []
        for capability in options.capabilities:
            if kernel.tensor_cores and capability < 80:
                cells.append("cuBLAS")
                continue
            found = compiled(kernel, capability)
            spilled = f", stack {found.stack}" if found.stack else ""
            cells.append(f"{found.registers}, {found.shared / 1024:.1f} KiB{spilled}")
        print(f"| {kernel.label} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
