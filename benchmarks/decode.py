"""Decoding, prefill and matrix-vector products: ratios to what the memory gives and to what others do.

Every system runs in a process of its own and does what it is told, one call at a time: in each round each decodes a
few tokens, or reads the same weights from memory without using them, and the order is turned round from round to
round. A row of the table is the median, over the rounds, of one round's ratio. Model files are first put out of the
page cache, as after a start of the machine. All have the same shape and random weights: 16 layers of hidden size
2048, gated feed-forward 5632, 16 heads, vocabulary 32 000, 0.95 B parameters. Where the processor has AMX, llama.cpp
is measured with and without it. Two threads that wait for one another are many times slower as soon as anything else
runs: the machine should be quiet, and the load is printed.

The other systems live in an environment of their own: once with --install, and --rivals FOLDER for another place.
Without it the rows that need them are left out.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parent / "rivals"))
from environment import install, python
from rows import Key, Series, all_rows, table
from shape import Shape
from worker import Worker


def processor(about: str = "model name") -> str:
    """What Linux tells of the first processor, or else the kind of machine."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith(about)), platform.machine())


SECTIONS = ("products", "decode", "batch", "prefill", "memory", "sampling")
OURS = ("int4-row", "int4-row-fp16", "int4-g128", "int4-g128-int8", "int8-row")
PRODUCTS = ("int4-row", "int4-g128", "int8-row")
SAMPLINGS = ("greedy", "top-k 40", "top-p 0.9", "unfiltered")
RIVALS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama.cpp Q4_0": ("llama", {"kind": "Q4_0"}),
    "llama.cpp Q8_0": ("llama", {"kind": "Q8_0"}),
    "llama.cpp F16": ("llama", {"kind": "F16"}),
    "CTranslate2 INT8": ("ctranslate", {"kind": "int8"}),
    "Hugging Face FP32": ("huggingface", {"kind": "FP32"}),
    "Hugging Face BF16": ("huggingface", {"kind": "BF16"}),
}
LLAMAS = ["llama.cpp Q4_0", "llama.cpp Q8_0"]
if "amx_int8" in processor("flags"):
    for name in tuple(LLAMAS):
        LLAMAS.append(f"{name} without AMX")
        RIVALS[LLAMAS[-1]] = ("llama", RIVALS[name][1] | {"amx": False})
GOAL_SHAPES = ((4096, 4096), (10880, 4096), (4096, 10880))
DRY = Shape(layers=2, hidden=256, ffn=512, heads=4, vocabulary=1000)
TINY = Shape(layers=1, hidden=128, ffn=128, heads=1, vocabulary=128)


@dataclass(frozen=True)
class Call:
    """What a system is told in every round; ``what`` is the name of what it did."""

    system: str
    what: str
    method: str
    arguments: dict[str, int | str] = field(default_factory=dict)


@dataclass
class Bench:
    """Where things are, and what has been found."""

    folder: Path
    shape: Shape
    product_shapes: Sequence[tuple[int, int]]
    pool_bytes: int
    burst: int
    has_rivals: bool
    about: dict[str, Any] = field(default_factory=dict)

    def worker(self, system: str, threads: int, shape: Shape | None = None, **options: Any) -> Worker:
        """Start a system by name."""
        shape = shape or self.shape
        kind, _, vocabulary = system.partition(" ")
        if vocabulary.isdecimal():
            shape = replace(shape, vocabulary=int(vocabulary))
        models = self.folder / "models" / shape.name
        models.mkdir(parents=True, exist_ok=True)
        log = self.folder / f"{system.replace(' ', '-')}.log"
        log.unlink(missing_ok=True)
        options |= {"threads": threads, "folder": str(models)}
        if system == "products":
            return Worker(Path(sys.executable), system, log, pool_bytes=self.pool_bytes, **options)
        options |= {"shape": asdict(shape)}
        if system in RIVALS:
            script, more = RIVALS[system]
            return Worker(python(self.folder), script, log, **options, **more)
        return Worker(Path(sys.executable), "glm", log, kind=kind, **options)

    def rounds(self, calls: Sequence[Call], threads: int, count: int) -> Series:
        """Let the systems take turns."""
        calls = [call for call in calls if self.has_rivals or call.system not in RIVALS]
        workers = {name: self.worker(name, threads) for name in dict.fromkeys(call.system for call in calls)}
        series: Series = {}
        for number in range(count + 1):
            for call in calls[:: 1 if number % 2 else -1]:
                for what, times in results(call, workers[call.system](call.method, **call.arguments)):
                    if number:  # the first round warms up
                        series.setdefault((call.system, what), []).append(times)
        self._check_quiet(workers)
        for name, worker in workers.items():
            if name != "products":
                self.about[name] = worker("about")
            worker.close()
        return series

    def _check_quiet(self, workers: dict[str, Worker]) -> None:
        """Say so if a system takes the processor while it has nothing to do."""
        before = {name: worker.cpu_seconds for name, worker in workers.items()}
        time.sleep(1)
        for name, worker in workers.items():
            if worker.cpu_seconds - before[name] > 0.05:
                print(f"{name} computes while it should wait: the others' times are too long", file=sys.stderr)

    def memory(self) -> Series:
        """Of a process that loads a model and reads a short text, less that of one with a tiny model: at its peak."""
        found: Series = {}
        for verify, text in ((False, ""), (True, ", checksums compared")):
            peaks = []
            for shape in (self.shape, TINY):
                worker = self.worker("int4-g128", 1, shape, verify=verify)
                worker("prefill", tokens=16)
                about = worker("about")
                worker.close()
                peaks.append(about)
            whole, tiny = peaks
            for part in ("peak", "anonymous"):
                found["load", f"{part}{text}"] = [{"bytes": whole["now"][part] - tiny["now"][part]}]
            found["load", "file"] = [{"bytes": whole["file"] - tiny["file"]}]
            self.about[f"memory{text}"] = {"model": whole, "tiny model": tiny}
        return found


def results(call: Call, answer: Any) -> Iterator[tuple[str, dict[str, float]]]:
    """Times by name; of a burst the mean, without its first, which finds the caches full of another system."""
    if isinstance(answer, list):
        yield call.what, {key: statistics.mean(times[key] for times in answer[1:]) for key in answer[0]}
    elif "wall" in answer:
        yield call.what, answer
    else:
        yield from ((f"{call.what}{name}", times) for name, times in answer.items())


def sections(bench: Bench) -> dict[str, list[list[Call]]]:
    """What takes turns with what."""
    burst = {"tokens": bench.burst + 1}

    def decoding(*systems: str) -> list[Call]:
        reading = [Call(name, "read", "read", {"passes": bench.burst + 1}) for name in systems if name in OURS]
        return sorted([*reading, *(Call(name, "decode", "decode", burst) for name in systems)], key=lambda c: c.system)

    products = [
        Call("products", f"{kind} {outputs}x{inputs}", "measure", {"kind": kind, "outputs": outputs, "inputs": inputs})
        for kind in PRODUCTS
        for outputs, inputs in bench.product_shapes
    ]
    batches = [
        Call(kind, f"batch {batch}", "decode", {"tokens": 3, "batch": batch})
        for kind in ("int4-row", "int4-g128")
        for batch in (1, 2, 4, 8, 16)
    ]
    prefills = [
        Call(system, f"prefill {tokens}", "prefill", {"tokens": tokens})
        for tokens in (128, 512)
        for system in (*PRODUCTS, *LLAMAS)
    ]
    # Not all systems fit into memory at once.
    return {
        "products": [products],
        "decode": [
            decoding(*OURS, *LLAMAS, "CTranslate2 INT8"),
            decoding("int4-row", "Hugging Face FP32", "Hugging Face BF16", "llama.cpp F16"),
        ],
        "batch": [batches],
        "prefill": [prefills],
        "sampling": [[Call("int4-row 150528", "", "sample")]],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--install", action="store_true", help="first make the environment of the other systems")
    parser.add_argument(
        "--rivals", type=Path, default=Path("~/.cache/glm130b-rivals"), help="its place, and the models'; 15 GB"
    )
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=SECTIONS)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=15, help="of decoding; a third as many of prefill")
    parser.add_argument("--burst", type=int, default=4, help="tokens of a system in a round")
    parser.add_argument("--layers", type=int, default=Shape.layers)
    parser.add_argument("--vocabulary", type=int, default=Shape.vocabulary)
    parser.add_argument("--dry-run", action="store_true", help="a tiny model, two rounds, no other systems")
    parser.add_argument("--json", type=Path, help="also write all that was measured here")
    options = parser.parse_args()
    if options.dry_run:
        with tempfile.TemporaryDirectory() as folder:
            bench = Bench(Path(folder), DRY, ((256, 512),), 1 << 20, 1, has_rivals=False)
            run(bench, options.only, [1], 2, options.json)
        return
    folder = options.rivals.expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    if options.install:
        install(folder)
    has_rivals = python(folder).exists()
    if not has_rivals:
        print("without other systems; --install makes their environment", file=sys.stderr)
    shape = Shape(layers=options.layers, vocabulary=options.vocabulary)
    bench = Bench(folder, shape, GOAL_SHAPES, 1 << 29, options.burst, has_rivals)
    run(bench, options.only, options.threads, options.rounds, options.json)


def run(bench: Bench, only: Sequence[str], threads: Sequence[int], rounds: int, file: Path | None) -> None:
    """Measure, print the table, and write everything to ``file``."""
    start = os.getloadavg()[0]
    measured: list[tuple[int, Series]] = []
    for name, groups in sections(bench).items():
        if name in only:
            few = name in ("prefill", "batch")
            for count in threads if name != "sampling" else threads[:1]:
                measured += [
                    (count, bench.rounds(group, count, -(-rounds // 3) if few else rounds)) for group in groups
                ]
    if "memory" in only:
        measured.append((1, bench.memory()))
    rows = [
        row.judged(*place)
        for row in all_rows(PRODUCTS, bench.product_shapes, SAMPLINGS)
        for place in found_in(measured, row.over, row.under)
    ]
    print(
        f"{processor()}, {os.cpu_count()} cores, torch {torch.__version__}, {rounds} rounds; shape {bench.shape.name}"
    )
    print(f"load before and after: {start:.1f}, {os.getloadavg()[0]:.1f}")
    print(table(rows))
    if file is not None:
        series = [
            {"threads": count, "system": key[0], "what": key[1], "rounds": times}
            for count, part in measured
            for key, times in part.items()
        ]
        content = {"processor": processor(), "shape": asdict(bench.shape), "about": bench.about, "rows": rows}
        file.write_text(json.dumps(content | {"measured": series}, indent=1) + "\n")


def found_in(measured: Sequence[tuple[int, Series]], *keys: Key) -> Iterator[tuple[Series, int]]:
    """For each number of threads the first series that has all ``keys``."""
    done = set()
    for count, series in measured:
        if count not in done and all(key in series for key in keys):
            done.add(count)
            yield series, count


if __name__ == "__main__":
    main()
