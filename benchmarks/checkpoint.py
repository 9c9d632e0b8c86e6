"""What asynchronous checkpoints cost: step time with one every 20 steps against step time without, in one run.

Blocks of steps with and without a checkpoint alternate in one process. A block with one begins with it and ends
when it is on disk, so that nothing of its cost falls into the next block: copying to main memory, writing and
hashing beside the training, and waiting for what is left of that. Reported are the medians over pairs of blocks.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from contextlib import closing
from pathlib import Path

import torch
from common import SHAPES, configuration, own_device, text

from glm130b.planning import parameter_count
from glm130b.training import Trainer, keep_freed_memory
from glm130b.training.checkpoint_writer import CheckpointWriter

TARGET = 1.05


def block(trainer: Trainer, steps: int, writer: CheckpointWriter | None) -> dict[str, float]:
    """Seconds of a block of steps; with a writer, of its parts too, and the bytes written."""
    start = time.perf_counter()
    if writer is not None:
        writer.save(trainer.placed.held, trainer.optimizer, trainer.progress, trainer.state)
    saved = time.perf_counter()
    for _ in range(steps):
        trainer.step()
    if trainer.device.type == "cuda":
        torch.cuda.synchronize()
    stepped = time.perf_counter()
    path = writer.wait() if writer is not None else None
    ended = time.perf_counter()
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) if path else 0
    return {"seconds": ended - start, "saving": saved - start, "waiting": ended - stepped, "bytes": size}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=list(SHAPES), default="20m")
    parser.add_argument("--length", type=int, default=512, help="of a sequence")
    parser.add_argument("--sequences", type=int, default=8, help="of each step")
    parser.add_argument("--steps", type=int, default=20, help="of a block")
    parser.add_argument("--pairs", type=int, default=4)
    parser.add_argument("--synchronous", action="store_true", help="for comparison: stop while it is written")
    parser.add_argument("--folder", type=Path, help="where to write; default a temporary one")
    parser.add_argument("--dry-run", action="store_true", help="the same code on a tiny model, for one pair of blocks")
    parser.add_argument("--json", type=Path, help="also write every pair here")
    options = parser.parse_args()
    if options.dry_run:
        options.shape, options.length, options.steps, options.pairs = "dry", 64, 2, 1
    keep_freed_memory()
    changes = ["checkpoint.keep=1", f"checkpoint.asynchronous={not options.synchronous}"]
    config = configuration(options.shape, options.length, options.sequences, options.sequences, *changes)
    pairs = []
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        tokenizer, corpus = text(Path(folder))
        with closing(Trainer(config, tokenizer, corpus, own_device("auto"))) as trainer:
            writer = CheckpointWriter(Path(folder), config, tokenizer, trainer.data, trainer.mesh.world)
            block(trainer, 1, writer)  # warms up
            block(trainer, 1, writer)  # the first with averages of the optimizer to copy
            print(
                f"{parameter_count(config.model) / 1e6:.1f} M parameters on {trainer.device}, torch {torch.__version__}"
            )
            for number in range(1, options.pairs + 1):
                order = (None, writer) if number % 2 else (writer, None)
                by_writer = {one: block(trainer, options.steps, one) for one in order}
                without, pair = by_writer[None]["seconds"], by_writer[writer]
                pair |= {"without": without, "ratio": pair["seconds"] / without}
                pairs.append(pair)
                print(
                    f"pair {number}: {options.steps} steps {without:.2f} s, with a checkpoint {pair['seconds']:.2f} s "
                    f"(of which {pair['saving']:.2f} s copying, {pair['waiting']:.2f} s waiting at the end): "
                    f"{pair['ratio']:.3f}",
                    flush=True,
                )
    ratios = [pair["ratio"] for pair in pairs]
    print(f"step time with checkpoints ÷ without: median {statistics.median(ratios):.3f}", end=" ")
    print(f"({min(ratios):.3f} to {max(ratios):.3f}), target {TARGET}; {pairs[-1]['bytes'] / 1e6:.0f} MB each")
    if options.json:
        options.json.write_text(json.dumps(pairs, indent=1) + "\n")


if __name__ == "__main__":
    main()
