"""What several benchmarks share: models, ranks, and what the machine itself can do."""

from __future__ import annotations

import gc
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from glm130b.config import RunConfig, load_config
from glm130b.corpus import PreparedCorpus, prepare
from glm130b.tokenization import Tokenizer

SHAPES = {
    "dry": {"hidden_size": 32, "num_layers": 4, "num_heads": 2, "ffn_size": 48},
    "small": {"hidden_size": 256, "num_layers": 4, "num_heads": 4, "ffn_size": 704},
    "20m": {"hidden_size": 384, "num_layers": 8, "num_heads": 6, "ffn_size": 1024},
    "1.3b": {"hidden_size": 2048, "num_layers": 24, "num_heads": 16, "ffn_size": 5632},
}
VOCABULARY = 16384

PEAKS = {"H200": 989e12, "H100 PCIe": 756e12, "H100 NVL": 835e12, "H100": 989e12, "A100": 312e12}
"""Dense half-precision FLOP/s by a part of the device's name, as NVIDIA gives them; the first that fits."""


def seconds(work: Callable[[], object]) -> float:
    """How long ``work`` takes, what it leaves to a GPU included."""
    start = time.perf_counter()
    work()
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def configuration(shape: str, length: int, sequences: int, micro_batch: int, *changes: str) -> RunConfig:
    """The recipe on a model of ``SHAPES``, at a constant number of sequences a step."""
    sizes = SHAPES[shape] | {"vocab_size": VOCABULARY, "max_sequence_length": length}
    return load_config(
        "tiny",
        [
            "model={" + ", ".join(f"{name}: {value}" for name, value in sizes.items()) + "}",
            f"data.seq_length={length}",
            f"objective.windows_per_sequence={max(1, min(4, length // 32))}",
            f"train.micro_batch_size={micro_batch}",
            f"train.batch={{end: {sequences}}}",
            "train.total=1M samples",
            *changes,
        ],
    ).run


def text(folder: Path) -> tuple[Tokenizer, PreparedCorpus]:
    """The bundled tokenizer and corpus."""
    tokenizer = Tokenizer.load()
    return tokenizer, prepare(load_config("tiny").run.data, tokenizer, folder / "data")


def measured_peak(device: torch.device, dtype: torch.dtype = torch.float32, *, shared: bool = False) -> float:
    """FLOP/s of the best of five products of square matrices; of their mean if ranks share the cores."""
    size = 8192 if device.type == "cuda" else 2048
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    seconds(lambda: a @ b)
    times = [seconds(lambda: a @ b) for _ in range(5)]
    return 2 * size**3 / (statistics.mean(times) if shared else min(times))


def known_peak(device: torch.device) -> float | None:
    """Half-precision FLOP/s of a GPU of ``PEAKS``."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    return next((peak for part, peak in PEAKS.items() if part in name), None)


def peak_memory(device: torch.device) -> int:
    """Most bytes that this process had allocated on its GPU; on a CPU, most that was resident."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024


def forget_peak_memory(device: torch.device) -> None:
    """Let ``peak_memory`` begin anew, without what is no longer used."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    else:
        Path("/proc/self/clear_refs").write_text("5")


def own_device(name: str) -> torch.device:
    """The device of this rank: of several GPUs the one of its local number."""
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    torch.cuda.set_device(device)
    return device


def on_ranks(size: int, function: Callable[..., None], *arguments: Any) -> None:
    """Call ``function(*arguments)`` on every rank.

    On the ranks that torchrun has started, or else on ``size`` processes forked from this one, which must not have
    used its cores or GPUs yet. One rank is this process.
    """
    if "WORLD_SIZE" in os.environ:
        _connected(function, arguments)
    elif size == 1:
        function(*arguments)
    else:
        with tempfile.TemporaryDirectory() as folder:
            mp.start_processes(_forked, (size, Path(folder) / "store", function, arguments), size, start_method="fork")


def _forked(rank: int, size: int, store: Path, function: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    os.environ["LOCAL_RANK"] = str(rank)
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // size))
    _connected(function, arguments, store=dist.FileStore(str(store), size), rank=rank, world_size=size)


def _connected(function: Callable[..., None], arguments: tuple[Any, ...], **where: Any) -> None:
    gpus = torch.cuda.is_available()
    if gpus:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("cpu:gloo,cuda:nccl" if gpus else "gloo", **where)
    function(*arguments)
    dist.barrier()
    dist.destroy_process_group()


def gathered(value: Any) -> list[Any]:
    """Every rank's value, on every rank."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return [value]
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values
