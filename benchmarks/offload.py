"""Decoding with weights that are not in memory: what bringing them in a layer ahead is worth.

Builds a synthetic model folder (random weights), and reads one token with nothing of it in memory, the system's own
copy of the file dropped: with layers brought in ahead, and with pages read as they are touched. The two alternate.
The last figure is the same model in memory. Compare ratios: absolute figures are this disk's and hour's.
"""

from __future__ import annotations

import argparse
import gc
import platform
import tempfile
import time
from pathlib import Path
from statistics import median
from unittest import mock

import torch
from torch import Tensor

from glm130b.config import ModelConfig
from glm130b.files import check_free_space, size_text
from glm130b.model import GLM, FolderTensors, KVCache, Scheme, TensorInfo, assign_tensors, write_tensors
from glm130b.offload import Resident, assign_streamed, disk_bandwidth, forget_cached, mapped
from glm130b.offload.pages import MappedFiles
from glm130b.planning import parameter_shapes
from glm130b.quantization import Quantized, use_quantized_linears

SCHEMES = {"fp32": None, "int8": Scheme(8), "int4": Scheme(4)}


class RandomWeights:
    """Normal values: stretches of one random vector, begun at a place that follows from the name."""

    def __init__(self, config: ModelConfig, dtype: torch.dtype) -> None:
        self.infos = {name: TensorInfo(shape, dtype) for name, shape in parameter_shapes(config).items()}
        values = torch.randn((1 << 24) + 997, generator=torch.Generator().manual_seed(0)) * 0.02
        self._values = values.to(dtype)

    def read(self, name: str) -> Tensor:
        shape = self.infos[name].shape
        count = torch.Size(shape).numel()
        values = self._values.roll(-(sum(name.encode()) % 997))
        return values.repeat(-(-count // len(values)))[:count].view(shape)


def opened(path: Path, config: ModelConfig, scheme: Scheme | None, limit: int | None) -> GLM:
    with torch.device("meta"):
        model = GLM(config)
        if scheme is not None:
            use_quantized_linears(model, scheme)
    source = FolderTensors(path, verify=False)
    tensors = ((name, source.read(name)) for name in source.infos)
    if limit is None:
        assign_tensors(model, tensors, str(path))
    else:
        assign_streamed(model, tensors, str(path), limit=limit, device=torch.device("cpu"))
    return model.eval().requires_grad_(False)


def forget(model: GLM, path: Path) -> None:
    """Let go of all pages, and let the system drop its copy of them."""
    MappedFiles().let_go(model.state_dict().values())
    for file in path.glob("*.safetensors"):
        forget_cached(file)


def token_seconds(model: GLM, rounds: int = 1) -> float:
    """The median time of reading one token, as decoding does."""
    cache = KVCache(model.config, batch=1, capacity=rounds, dtype=model.dtype)
    found = []
    for n in range(rounds):
        columns = torch.tensor([7, n, 0, 0])[:, None, None]
        start = time.perf_counter()
        with torch.inference_mode():
            model(*columns, cache=cache)
        found.append(time.perf_counter() - start)
    return median(found)


def cold_seconds(path: Path, config: ModelConfig, scheme: Scheme | None, *, ahead: bool) -> float:
    """Of a token with nothing of the model in memory."""
    limit = Resident.now().total + (1 << 28) + 3 * size_of(path) // config.num_layers
    model = opened(path, config, scheme, limit)
    forget(model, path)
    with mock.patch.object(mapped, "bring", mapped.bring if ahead else lambda tensor: None):
        found = token_seconds(model)
    del model
    gc.collect()
    return found


def size_of(path: Path) -> int:
    return sum(file.stat().st_size for file in path.glob("*.safetensors"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--hidden", type=int, default=2048)
    parser.add_argument("--precisions", nargs="+", choices=SCHEMES, default=["int4", "int8", "fp32"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="a place for the model; default the system's temporary one")
    options = parser.parse_args()
    config = ModelConfig(
        num_layers=options.layers,
        hidden_size=options.hidden,
        num_heads=max(1, options.hidden // 128),
        ffn_size=options.hidden * 11 // 4,
        vocab_size=1024,
        max_sequence_length=128,
    )
    print(f"{platform.processor() or platform.machine()}, torch {torch.__version__}, {torch.get_num_threads()} threads")
    for precision in options.precisions:
        with tempfile.TemporaryDirectory(dir=options.folder) as name:
            compare(Path(name), config, precision, options.rounds)


def compare(folder: Path, config: ModelConfig, precision: str, rounds: int) -> None:
    scheme = SCHEMES[precision]
    source = RandomWeights(config, torch.float32 if scheme is None else torch.float16)
    size = sum(info.nbytes for info in source.infos.values())
    check_free_space(folder, size, "the model", "Choose another --folder.")
    whole_source = source if scheme is None else Quantized(source, scheme)
    write_tensors(folder, whole_source, config, tokenizer=None, scheme=scheme)
    ahead, touched, disk = [], [], []
    for _ in range(rounds):
        disk.append(disk_bandwidth(next(folder.glob("*.safetensors"))))
        ahead.append(cold_seconds(folder, config, scheme, ahead=True))
        touched.append(cold_seconds(folder, config, scheme, ahead=False))
    whole = opened(folder, config, scheme, None)
    token_seconds(whole)
    in_memory, size = token_seconds(whole, rounds), size_of(folder)
    with_ahead, without = median(ahead), median(touched)
    ratios = median(b / a for a, b in zip(ahead, touched, strict=True))
    print(
        f"{precision}: {size_text(size)}, disk {median(disk) / 1e9:.2f} GB/s; a token takes {with_ahead:.2f} s brought "
        f"in ahead ({size / with_ahead / 1e9:.2f} GB/s), {without:.2f} s touched (median ratio {ratios:.2f}), "
        f"{in_memory:.3f} s in memory",
        flush=True,
    )


if __name__ == "__main__":
    main()
