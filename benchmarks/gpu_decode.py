"""The GPU kernels against the card's memory bandwidth, against PyTorch's own INT4, and against FP64.

Parts: ``bandwidth`` reads one large tensor; ``accuracy`` compares every kernel with FP64; ``gemv`` times products
with one row; ``rows`` with several, which says where the other kernels take over; ``decode`` times whole tokens at
batch 1 of a model of GLM's form with random weights; ``breakdown`` times the pieces of such a token, each by itself
over all layers; ``sweep`` tries ways of cutting up the matrix-vector product.

Everything is timed as CUDA graphs, over so many sets of weights that none is still in the L2 cache when its turn
comes again; a figure is the median of several replays. Without a GPU only ``--dry-run`` works: the same code on tiny
shapes in Triton's interpreter, whose times mean nothing.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

if "--dry-run" in sys.argv:
    os.environ["TRITON_INTERPRET"] = "1"

import torch
from torch import Tensor, nn

from glm130b.config import ModelConfig
from glm130b.inference import Sampling, draw, fused
from glm130b.inference.graph import GraphDecoder, StaticStep
from glm130b.kernels import gpu
from glm130b.kernels.gpu.gemm import gemm
from glm130b.kernels.gpu.gemv import gemv
from glm130b.kernels.gpu.norm import AddNorm, add_and_norm
from glm130b.kernels.gpu.tables import GemvConfig
from glm130b.kernels.gpu.token import attend_token
from glm130b.model import GLM, KVCache, Scheme
from glm130b.quantization import use_quantized_linears

PARTS = ("bandwidth", "accuracy", "gemv", "rows", "decode", "breakdown")
NOMINAL = {"H200": 4.8e12, "H100 PCIe": 2.0e12, "H100": 3.35e12, "A100": 2.039e12, "3090": 0.936e12, "2080": 0.616e12}
"""Bytes a second of device memory by a part of the card's name, as NVIDIA gives them; the first that fits."""
SHAPES = {
    "7B": {"qkv": (12288, 4096), "dense": (4096, 4096), "wide": (21760, 4096), "narrow": (4096, 10880)},
    "1B": {"qkv": (6144, 2048), "dense": (2048, 2048), "wide": (11264, 2048), "narrow": (2048, 5632)},
}
DRY_SHAPES = {"dry": {"qkv": (96, 64), "narrow": (32, 96)}}
MODEL = {
    "num_layers": 28,
    "hidden_size": 4096,
    "num_heads": 32,
    "ffn_size": 10880,
    "vocab_size": 32000,
    "max_sequence_length": 2048,
}
CONTEXT = 512
DRY_MODEL = {
    "num_layers": 1,
    "hidden_size": 64,
    "num_heads": 2,
    "ffn_size": 96,
    "vocab_size": 64,
    "max_sequence_length": 64,
}
FORMATS: dict[str, tuple[int, int | None]] = {
    "INT4 row": (4, None),
    "INT4 g128": (4, 128),
    "INT4 g32": (4, 32),
    "INT8 row": (8, None),
}
ROUNDING = {torch.float32: 1e-4, torch.float16: 1e-3, torch.bfloat16: 8e-3}
"""Largest error allowed, relative to the norm of a product, by the type it is rounded to."""


class Bench:
    """One run: where, how much, what came out."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.dry: bool = options.dry_run
        self.device = torch.device("cpu" if self.dry else "cuda")
        self.results: dict[str, Any] = {"torch": torch.__version__, "device": self.name}
        self.shapes = DRY_SHAPES if self.dry else SHAPES
        self.bandwidth = 1e9
        torch.manual_seed(0)

    @property
    def name(self) -> str:
        return "Triton's interpreter" if self.dry else torch.cuda.get_device_name()

    def weights(self, rows: int, columns: int, bits: int, group: int | None) -> tuple[Tensor, Tensor]:
        """Random, in the layout of the kernels."""
        high = 256 if bits == 4 else 255
        weight = torch.randint(0, high, (rows, columns * bits // 8), dtype=torch.uint8, device=self.device)
        weight = weight.view(torch.int8) if bits == 4 else (weight.int() - 127).to(torch.int8)
        shape = (rows,) if group is None or group > columns else (rows, columns // group)
        return weight, (torch.rand(shape, device=self.device) * 0.01 + 0.002).half()

    def sets(self, rows: int, columns: int, bits: int, group: int | None) -> list[tuple[Tensor, Tensor]]:
        """As many weights as keep each other out of the L2 cache."""
        first = self.weights(rows, columns, bits, group)
        return [first, *(self.weights(rows, columns, bits, group) for _ in range(self.num_sets(size_of(*first)) - 1))]

    def seconds(self, calls: Sequence[Callable[[], object]], replays: int = 9) -> float:
        """Of one call on average, all made one after the other; the median of several rounds."""
        if self.dry:
            start = time.perf_counter()
            for call in calls[:1]:
                call()
            return time.perf_counter() - start
        for call in calls[:2]:
            call()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            for call in calls:
                call()
        return statistics.median(timed(graph.replay) for _ in range(replays)) / len(calls)

    def num_sets(self, size: int) -> int:
        """Of so many bytes, so that together they are four times the L2 cache at least."""
        if self.dry:
            return 1
        return max(4, -(-4 * torch.cuda.get_device_properties(0).L2_cache_size // size))

    def share(self, num_bytes: float, seconds: float) -> float:
        """Of the bandwidth measured in this run."""
        return num_bytes / seconds / self.bandwidth


def timed(work: Callable[[], object]) -> float:
    """Seconds on the device."""
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    work()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / 1e3


def size_of(*tensors: Tensor) -> int:
    return sum(tensor.nbytes for tensor in tensors)


def expanded(weight: Tensor, scale: Tensor, bits: int) -> Tensor:
    """In FP64."""
    if bits == 4:
        weight = torch.stack((weight >> 4, (weight << 4) >> 4), dim=-1).flatten(1)
    scale = scale.double().view(len(weight), -1, 1)
    return (weight.double().view(*scale.shape[:2], -1) * scale).flatten(1)


def bandwidth(bench: Bench) -> None:
    """Read 2 GiB; the best of reading alone is what everything else is a share of."""
    size = 1 << (12 if bench.dry else 31)
    data = torch.randint(-128, 127, (size // 8,), dtype=torch.int64, device=bench.device)
    other = torch.empty_like(data)
    read = size / bench.seconds([data.max])
    copy = 2 * size / bench.seconds([lambda: other.copy_(data)])
    bench.bandwidth = max(read, copy)
    nominal = next((value for part, value in NOMINAL.items() if part in bench.name), None)
    bench.results["bandwidth"] = {"read": read, "copy": copy, "nominal": nominal}
    of_nominal = "" if nominal is None else f"; nominal {nominal / 1e12:.2f} TB/s"
    print(f"bandwidth: reading {read / 1e12:.2f} TB/s, copying {copy / 1e12:.2f} TB/s{of_nominal}")


def accuracy(bench: Bench) -> None:
    """Every kernel, format and type against FP64 on the same integers and scales."""
    worst: dict[str, float] = {}
    N, K = (40, 256) if bench.dry else (1000, 10880)
    for (name, (bits, group)), dtype in itertools.product(FORMATS.items(), ROUNDING):
        if bench.dry and dtype == torch.bfloat16:
            continue  # the interpreter has no product of BF16 matrices
        weight, scale = bench.weights(N, K, bits, group)
        bias = torch.randn(N, device=bench.device).to(dtype)
        exact_weight = expanded(weight, scale, bits)
        for rows in (1, 2, 5, 150) if bench.dry else (1, 2, 3, 4, 5, 16, 64, 300):
            x = torch.randn(rows, K, device=bench.device).to(dtype)
            x[0, 7] = 1e4 if rows % 2 else 1.0
            exact = x.double() @ exact_weight.T + bias.double()
            kinds = {"linear": gpu.linear}
            if rows > gpu.GEMV_MAX_ROWS and dtype != torch.float32:
                kinds["gemm"] = gemm
            for kind, product in kinds.items():
                error = float((product(x, weight, scale, bits, bias).double() - exact).norm() / exact.norm())
                label = f"{kind} {str(dtype).removeprefix('torch.')}"
                worst[label] = max(worst.get(label, 0.0), error)
                if not error < ROUNDING[dtype]:
                    raise SystemExit(f"{name}, {rows} rows: {label} is off by {error:.1e}")
    bench.results["accuracy"] = worst
    print("largest error against FP64: " + ", ".join(f"{label} {error:.1e}" for label, error in worst.items()))


def gemv_calls(
    bench: Bench,
    sets: list[tuple[Tensor, Tensor]],
    bits: int,
    geglu: bool = False,
    config: GemvConfig | None = None,
) -> tuple[int, list[Callable[[], object]]]:
    """Bytes of a product with one row, and calls over rotating weights."""
    rows, num_bytes = sets[0][0].shape
    x = torch.randn(1, num_bytes * 8 // bits, device=bench.device).half()
    bias = torch.randn(rows, device=bench.device).half()
    return size_of(*sets[0]), [partial(gemv, x, *one, bits, bias, geglu=geglu, config=config) for one in sets]


def torch_int4(bench: Bench, rows: int, columns: int) -> tuple[int, Callable[[Tensor], Tensor]]:
    """PyTorch's INT4 product for BF16 with a scale and a zero for 128 columns, as gpt-fast uses it, and its bytes."""
    packed = torch.randint(0, 256, (rows, columns // 2), dtype=torch.uint8, device=bench.device)
    weight = torch.ops.aten._convert_weight_to_int4pack(packed, 8)
    scales = torch.rand(columns // 128, rows, 2, device=bench.device, dtype=torch.bfloat16) * 0.01
    return size_of(weight, scales), lambda x: torch.ops.aten._weight_int4pack_mm(x, weight, 128, scales)


def one_row(bench: Bench) -> None:
    """Products with one row: microseconds, and the share of the bandwidth."""
    found: dict[str, Any] = {}
    for model, shapes in bench.shapes.items():
        print(f"one row, {model}: us (share) of " + ", ".join(f"{k} {n}x{c}" for k, (n, c) in shapes.items()))
        for name, (bits, group) in FORMATS.items():
            cells = []
            for kind, (rows, columns) in shapes.items():
                num_bytes, calls = gemv_calls(bench, bench.sets(rows, columns, bits, group), bits, geglu=kind == "wide")
                seconds = bench.seconds(calls)
                found[f"{model} {kind} {name}"] = [seconds, num_bytes]
                cells.append(f"{seconds * 1e6:.1f} ({bench.share(num_bytes, seconds):.2f})")
            print(f"  {name}: " + ", ".join(cells))
        if not bench.dry:
            cells = []
            for kind, (rows, columns) in shapes.items():
                num_bytes, product = torch_int4(bench, rows, columns)
                products = [
                    product,
                    *(torch_int4(bench, rows, columns)[1] for _ in range(bench.num_sets(num_bytes) - 1)),
                ]
                x = torch.randn(1, columns, device=bench.device, dtype=torch.bfloat16)
                seconds = bench.seconds([lambda one=one, x=x: one(x) for one in products])
                found[f"{model} {kind} torch INT4"] = [seconds, num_bytes]
                cells.append(f"{seconds * 1e6:.1f} ({bench.share(num_bytes, seconds):.2f})")
            print("  PyTorch INT4 g128: " + ", ".join(cells))
    bench.results["one row"] = found


def several_rows(bench: Bench) -> None:
    """The same product with more and more rows, by each kernel that takes them: microseconds."""
    rows, columns = next(iter(bench.shapes.values()))["qkv"]
    found: dict[str, Any] = {}
    for name, (bits, group) in FORMATS.items():
        sets = bench.sets(rows, columns, bits, group)
        cells = []
        for count in (1, 5) if bench.dry else (1, 2, 3, 4, 8, 16, 32, 64, 128, 192, 256):
            x = torch.randn(count, columns, device=bench.device).half()
            kinds: dict[str, Callable[..., object]] = {
                "gemm": gemm,
                "cuBLAS": partial(gpu._through_expanded, bias=None),
            }
            if count <= gpu.GEMV_MAX_ROWS:
                kinds["gemv"] = gemv
            times = {
                kind: bench.seconds([partial(product, x, *one, bits) for one in sets])
                for kind, product in kinds.items()
            }
            found[f"{name} {count}"] = times
            cells.append(f"{count}: " + "/".join(f"{kind} {seconds * 1e6:.0f}" for kind, seconds in times.items()))
        print(f"rows, {name}: " + "; ".join(cells))
    bench.results["several rows"] = found


class TorchInt4(nn.Module):
    """A linear map by PyTorch's INT4 product."""

    def __init__(self, bench: Bench, rows: int, columns: int) -> None:
        super().__init__()
        self.num_bytes, self.product = torch_int4(bench, rows, columns)

    def forward(self, x: Tensor) -> Tensor:
        return self.product(x)


def build(bench: Bench, kind: str) -> tuple[GLM, int]:
    """A model of random weights, and the bytes that a token reads of it."""
    config = ModelConfig(**(DRY_MODEL if bench.dry else MODEL))
    with torch.device("meta"):
        model = GLM(config)
        if kind in FORMATS:
            use_quantized_linears(model, Scheme(*FORMATS[kind]))
    other = 0
    if kind == "PyTorch INT4 g128":
        for layer in model.layers:
            for parent, name in ((layer.attention, "query_key_value"), (layer.attention, "dense"),
                                 (layer.mlp, "dense_h_to_4h"), (layer.mlp, "dense_4h_to_h")):  # fmt: skip
                linear = getattr(parent, name)
                setattr(parent, name, TorchInt4(bench, linear.out_features, linear.in_features))
                other += getattr(parent, name).num_bytes
    model = model.to(torch.bfloat16 if "PyTorch" in kind else torch.float16).to_empty(device=bench.device)
    for name, tensor in model.state_dict().items():
        if tensor.dtype == torch.int8:
            tensor.random_(-127, 128)
        elif name.endswith("_scale"):
            tensor.uniform_(0.0, 0.01)
        elif "norm" in name:
            tensor.fill_(1.0 if name.endswith("weight") else 0.0)
        else:
            tensor.normal_(0.0, 0.02)
    read = {name: tensor for name, tensor in model.state_dict().items() if "norm" not in name}
    return model.eval().requires_grad_(False), other + size_of(*read.values())


def filled_cache(bench: Bench, model: GLM, context: int, room: int) -> KVCache:
    """A cache after a context of so many tokens, with random keys and values."""
    cache = KVCache(model.config, batch=1, capacity=context + room, dtype=model.dtype, device=bench.device)
    cache.sample[:, :context], cache.length = 0, context
    for keys, values in zip(cache.keys, cache.values, strict=True):
        keys.normal_()
        values.normal_()
    return cache


def decode(bench: Bench) -> None:
    """Milliseconds of a token at batch 1 behind a context of 512, sampling included."""
    context, count = (3, 4) if bench.dry else (CONTEXT, 64)
    found: dict[str, Any] = {}
    kinds = ["INT4 row", "FP16"] if bench.dry else ["INT4 row", "INT4 g128", "INT8 row", "FP16", "PyTorch INT4 g128"]
    for kind in kinds:
        model, num_bytes = build(bench, kind)
        cache = filled_cache(bench, model, context, count)
        num_bytes += size_of(*cache.keys, *cache.values) * (context + count // 2) // cache.capacity
        decoder = GraphDecoder(
            model, cache,
            torch.randn(1, model.config.vocab_size, device=bench.device, dtype=model.dtype),
            torch.tensor([context]), torch.tensor([1]),
            sampling=Sampling(), uniforms=torch.zeros(1, count), fused=True,
        )  # fmt: skip
        times = []
        begun = time.perf_counter()
        for _ in decoder:
            times.append(time.perf_counter() - begun)
            begun = time.perf_counter()
        seconds = statistics.median(times[count // 4 :])
        share = bench.share(num_bytes, seconds)
        nominal = bench.results.get("bandwidth", {}).get("nominal")
        found[kind] = {"seconds": seconds, "bytes": num_bytes, "share": share}
        of_nominal = f", {num_bytes / seconds / nominal:.2f} of the nominal" if nominal else ""
        print(
            f"token, {kind}: {seconds * 1e3:.3f} ms, {num_bytes / 1e9:.2f} GB, {share:.2f} of the bandwidth{of_nominal}"
        )
        del model, cache, decoder
        if not bench.dry:
            torch.cuda.empty_cache()
    bench.results["decode"] = found


def pieces(bench: Bench, model: GLM, cache: KVCache) -> dict[str, list[Callable[[], object]]]:
    """Of a token: each kernel of a layer once for all layers, and what there is once; norms also by themselves."""
    config, arrived = model.config, torch.zeros(model.config.num_heads, dtype=torch.int32, device=bench.device)
    hidden, wide = (
        torch.randn(1, size, device=bench.device, dtype=model.dtype) for size in (config.hidden_size, config.ffn_size)
    )
    qkv = hidden.repeat(1, 3)
    slot = torch.full((1,), cache.length, device=bench.device)
    cos, sin = torch.randn(2, 1, config.head_size // 2, device=bench.device).to(model.dtype)
    found: dict[str, list[Callable[[], object]]] = {}
    for n, layer in enumerate(model.layers):
        attention, mlp, norm = layer.attention, layer.mlp, layer.input_layernorm
        cached = cache.keys[n], cache.values[n], cache.sample, cache.branch
        add_norm = AddNorm(hidden, norm.weight, norm.bias, config.deepnorm_alpha, norm.eps)
        for name, call in {
            "qkv": partial(fused._times, attention.query_key_value, hidden),
            "attention": partial(attend_token, qkv, cos, sin, *cached, slot, arrived),
            "dense and norm": partial(fused._times_and_norm, attention.dense, hidden, hidden, norm, model, arrived),
            "wide and GeGLU": partial(fused._expanded, mlp.dense_h_to_4h, hidden),
            "narrow and norm": partial(fused._times_and_norm, mlp.dense_4h_to_h, wide, hidden, norm, model, arrived),
            "dense alone": partial(fused._times, attention.dense, hidden),
            "narrow alone": partial(fused._times, mlp.dense_4h_to_h, wide),
            "norm alone": partial(add_and_norm, hidden, add_norm),
        }.items():
            found.setdefault(name, []).append(call)
    logits = torch.randn(1, config.vocab_size, device=bench.device, dtype=model.dtype)
    found["output"] = [partial(model.logits, hidden)] * 4
    found["greedy choice"] = [partial(draw, logits, torch.zeros(1, device=bench.device), Sampling())] * 4
    found["whole step"] = [partial(StaticStep(model, cache, fused=True), cache.length + 1)] * 2
    return found


def breakdown(bench: Bench) -> None:
    """Microseconds of each piece of a token, and how much of a step they do not account for."""
    found: dict[str, dict[str, float]] = {}
    for kind in ["INT4 row"] if bench.dry else ["INT4 row", "INT4 g128", "INT8 row"]:
        model, _ = build(bench, kind)
        with torch.inference_mode():
            parts = pieces(bench, model, filled_cache(bench, model, 3 if bench.dry else CONTEXT, 64))
            times = {name: bench.seconds(calls) for name, calls in parts.items()}
        in_layer = [name for name in times if name in ("qkv", "attention") or " and " in name]
        rest = times["whole step"] - len(model.layers) * sum(times[name] for name in in_layer) - times["output"]
        found[kind] = times | {"rest": rest}
        print(
            f"breakdown, {kind}, us: " + ", ".join(f"{name} {value * 1e6:.1f}" for name, value in found[kind].items())
        )
        del model, parts
    bench.results["breakdown"] = found


def candidates() -> list[GemvConfig]:
    """The best of a wide search and their neighbours, longer stretches of rows, and loads in several stages."""
    best = [
        (4, 32, 1), (8, 32, 1), (8, 32, 2), (16, 32, 2), (16, 32, 4), (32, 32, 4), (4, 64, 2), (8, 64, 2), (8, 64, 4),
        (16, 64, 4), (16, 64, 8), (4, 128, 4), (8, 128, 4),
    ]  # fmt: skip
    longer = [(2, 256, 4), (4, 256, 4), (4, 256, 8), (8, 256, 8), (16, 128, 8)]
    staged = [(8, 32, 2), (16, 32, 2), (16, 32, 4), (8, 64, 4)]
    return [
        *(GemvConfig(*one) for one in [*best, *longer]),
        *(GemvConfig(*one, num_stages=stages) for one, stages in itertools.product(staged, (2, 4))),
    ]


def compile_candidate(job: tuple[GemvConfig, str, int, bool]) -> None:
    """Compile a candidate into Triton's cache, in a process of its own."""
    config, name, columns, geglu = job
    bits, group = FORMATS[name]
    bench = Bench(argparse.Namespace(dry_run=False))
    _, calls = gemv_calls(bench, [bench.weights(256, columns, bits, group)], bits, geglu, config)
    calls[0]()
    torch.cuda.synchronize()


def sweep(bench: Bench) -> None:
    """The fastest candidates by shape and format."""
    formats = ["INT4 row"] if bench.dry else ["INT4 row", "INT4 g128", "INT8 row"]
    work = list(itertools.product(formats, next(iter(bench.shapes.values())).items()))
    tried = candidates()[:: 9 if bench.dry else 1]
    if not bench.dry:
        jobs = {(config, name, columns, kind == "wide") for name, (kind, (_, columns)) in work for config in tried}
        with ProcessPoolExecutor(min(12, os.cpu_count() or 1), mp_context=get_context("spawn")) as pool:
            list(pool.map(compile_candidate, jobs, chunksize=8))
    found = {}
    for name, (kind, (rows, columns)) in work:
        bits, group = FORMATS[name]
        sets = bench.sets(rows, columns, bits, group)
        times = {}
        for config in tried:
            num_bytes, calls = gemv_calls(bench, sets, bits, geglu=kind == "wide", config=config)
            times[tuple(asdict(config).values())] = bench.seconds(calls, replays=3)
        best = sorted(times.items(), key=lambda item: item[1])
        found[f"{name} {kind}"] = [[list(config), seconds] for config, seconds in best]
        cells = [f"{config} {bench.share(num_bytes, seconds):.2f}" for config, seconds in best[:5]]
        print(f"sweep, {name} {kind} (block_n, units, warps, split, stages): " + "; ".join(cells))
    bench.results["sweep"] = found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=[*PARTS, "sweep"], default=list(PARTS))
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--json", type=Path, help="also write all figures here")
    options = parser.parse_args()
    if not options.dry_run and not torch.cuda.is_available():
        raise SystemExit("There is no GPU here; --dry-run goes through the same code without one.")
    bench = Bench(options)
    print(f"{bench.name}, torch {torch.__version__}")
    work = [bandwidth, accuracy, one_row, several_rows, decode, breakdown, sweep]
    by_part = dict(zip([*PARTS, "sweep"], work, strict=True))
    for part in options.parts:
        start = time.perf_counter()
        by_part[part](bench)
        print(f"  ({part}: {time.perf_counter() - start:.0f} s)", flush=True)
        if options.json is not None:
            options.json.write_text(json.dumps(bench.results, indent=1))


if __name__ == "__main__":
    main()
