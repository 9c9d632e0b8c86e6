"""Matrix-vector products alone: one vector by each of a pool of matrices that no cache holds."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from read import Reading, evict
from torch import Tensor
from worker import Times, serve, timed

from glm130b.kernels import linear

KINDS = {"int4-row": (4, None), "int4-g128": (4, 128), "int8-row": (8, None)}


def random_bytes(count: int, folder: Path) -> Tensor:
    """Memory-mapped, as weights are; both halves of a byte, as INT4, lie within -7 … 7."""
    path = folder / f"bytes-{count}"
    if not path.exists():
        halves = np.random.default_rng(0).integers(-7, 8, (2, min(count, (1 << 22) + 997)), np.int8)
        part = folder / "bytes.part"
        np.resize((halves[0] << 4) | (halves[1] & 15), count).tofile(part)
        part.rename(path)
    evict(path)
    return torch.from_file(str(path), shared=True, size=count, dtype=torch.int8)


class Products:
    def __init__(self, folder: str, threads: int, pool_bytes: int) -> None:
        torch.set_num_threads(threads)
        self.folder, self.threads = Path(folder), threads
        self.bytes = random_bytes(pool_bytes, self.folder)
        self.executor = ThreadPoolExecutor(threads)

    def measure(self, kind: str, outputs: int, inputs: int) -> dict[str, Times]:
        """A pass over the pool, after one that does not count: the products by a vector, and only reading."""
        bits, group = KINDS[kind]
        size = outputs * inputs * bits // 8
        weights = self.bytes[: len(self.bytes) // size * size].view(-1, outputs, inputs * bits // 8)
        groups = 1 if group is None else inputs // group
        scales = (torch.rand(len(weights), outputs, groups) * 0.01).half()
        scales = scales[:, :, 0].contiguous() if group is None else scales
        x = torch.randn(1, inputs)
        read = Reading([weights, scales], self.folder, self.executor, self.threads)
        with torch.inference_mode():
            pairs = list(zip(weights, scales, strict=True))
            work = {"": lambda: [linear(x, *pair, bits) for pair in pairs], " read": read}
            times = {}
            for name, once in work.items():
                once()
                times[name] = timed(once)
        return times


if __name__ == "__main__":
    serve(Products)
