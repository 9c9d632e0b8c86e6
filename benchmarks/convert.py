"""Peak memory and speed of conversion on a checkpoint that is larger than it should ever have to be in memory.

Builds a synthetic official checkpoint (random weights, 4 tensor-parallel ranks, FP16, 8.3 GB by default),
converts it in several ways, each in a process of its own, and deletes everything. Peak resident memory is
the kernel's own high-water mark, mapped files included. Time is compared with a plain copy of the same files
made just before each conversion.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch import Tensor

from glm130b.config import ModelConfig
from glm130b.files import Progress, check_free_space, size_text
from glm130b.interop import describe, open_model
from glm130b.interop.sat import rank_source, write_ranks
from glm130b.model import TensorInfo
from glm130b.planning import parameter_shapes

CHILD = """
import json, sys
from pathlib import Path
from glm130b.interop import convert

def peak():
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024

before = peak()
convert(sys.argv[1], Path(sys.argv[2]), **json.loads(sys.argv[3]))
print(json.dumps([before, peak()]))
"""


class RandomWeights:
    """Normal values: stretches of one random vector, begun at a place that follows from the name."""

    def __init__(self, config: ModelConfig) -> None:
        self.infos = {name: TensorInfo(shape, torch.float16) for name, shape in parameter_shapes(config).items()}
        self._values = (torch.randn((1 << 24) + 997, generator=torch.Generator().manual_seed(0)) * 0.02).half()

    def read(self, name: str) -> Tensor:
        shape = self.infos[name].shape
        count = torch.Size(shape).numel()
        values = self._values.roll(-(sum(name.encode()) % 997))
        return values.repeat(-(-count // len(values)))[:count].view(shape)


def build(path: Path, config: ModelConfig, ranks: int) -> None:
    path.mkdir()
    source = RandomWeights(config)
    files = [rank_source([source], config, rank, ranks, None) for rank in range(ranks)]
    write_ranks(path, files, "1", Progress(path, {}))


def timed_copy(source: Path, destination: Path) -> float:
    start = time.perf_counter()
    shutil.copytree(source, destination)
    subprocess.run(["sync", "-f", destination], check=True)
    seconds = time.perf_counter() - start
    shutil.rmtree(destination)
    return seconds


def timed_conversion(source: Path, destination: Path, options: dict[str, object]) -> tuple[float, int, int]:
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", CHILD, source, destination, json.dumps(options)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    before, peak = json.loads(done.stdout)
    return time.perf_counter() - start, before, peak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=20)
    parser.add_argument("--hidden", type=int, default=4096)
    parser.add_argument("--folder", type=Path, help="a place with four times the size free; default the system's")
    options = parser.parse_args()
    config = ModelConfig(
        num_layers=options.layers,
        hidden_size=options.hidden,
        num_heads=options.hidden // 128,
        ffn_size=options.hidden * 8 // 3 // 64 * 64,
        vocab_size=32768,
        max_sequence_length=2048,
    )
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        size = sum(info.nbytes for info in RandomWeights(config).infos.values())
        check_free_space(folder, 4 * size, "four copies of the checkpoint", "Choose another --folder.")
        json_file = folder / "sizes.json"
        json_file.write_text(json.dumps(config.model_dump()))
        sat = folder / "sat"
        build(sat, config, 4)
        found = describe(sat, str(json_file))
        largest = found.largest[1]
        print(f"{platform.processor() or platform.machine()}, torch {torch.__version__}")
        print(f"checkpoint {size_text(found.num_bytes)}, 4 ranks; largest tensor {size_text(largest)}")
        official = {"config": str(json_file)}
        for source, target, arguments in (
            ("sat", "folder", {"to": "folder", **official}),
            ("sat", "int4", {"to": "folder", "bits": 4, **official}),
            ("folder", "int8", {"to": "folder", "bits": 8}),
            ("folder", "int4-groups", {"to": "folder", "bits": 4, "group_size": 64, "output_bits": 8}),
            ("folder", "tp8", {"to": "sat", "tensor_parallel": 8}),
            ("sat", "tp2", {"to": "sat", "tensor_parallel": 2, **official}),
        ):
            copy = timed_copy(folder / source, folder / "copy")
            seconds, before, peak = timed_conversion(folder / source, folder / target, arguments)
            text = ", ".join(f"{key} {value}" for key, value in arguments.items() if key != "config")
            print(
                f"{source} -> {text}: peak {size_text(peak)} ({size_text(before)} before it began, "
                f"{(peak - before) / largest:.2f} times the largest tensor more), {seconds:.0f} s, "
                f"{seconds / copy:.1f} times a copy",
                flush=True,
            )
            if target != "folder":
                shutil.rmtree(folder / target)
        same = open_model(folder / "folder").ranks[0]
        for tensor in ("layers.0.mlp.dense_h_to_4h.weight", "word_embeddings.weight"):
            assert torch.equal(same.read(tensor), RandomWeights(config).read(tensor))


if __name__ == "__main__":
    main()
