"""Training speed: tokens/s, FLOP utilisation, memory, and where the time goes; on one rank or on any mesh.

    python benchmarks/train.py                                       # 20 M parameters on this machine's cores
    python benchmarks/train.py --set parallel.pipeline=2             # starts the two ranks itself
    torchrun --nproc-per-node 8 benchmarks/train.py --shape 1.3b --set parallel.data=8
    python benchmarks/train.py --shape 1.3b --precision bf16 fp16    # on a GPU
    python benchmarks/train.py --against-cpu --precision fp32 bf16 fp16

Every round times, one after the other, the machine's own matrix product, one step of ours and, if asked for,
one of Hugging Face's GPT-NeoX of the same sizes on as many tokens, so that whatever else the machine does falls
on all alike. GPT-NeoX runs in processes of its own, which sleep meanwhile: once with the allocator as it comes,
once with ours (docs/decisions/0003-allocator.md). Reported are medians over the rounds of each round's ratios.

Model FLOP utilisation (mfu) counts only what the objective needs: linear maps at real tokens, attention between
tokens that see one another, the output layer at tokens to predict; three times the forward pass. Hardware FLOP
utilisation (hfu) adds what recomputation does a second time. GPT-NeoX is counted by its own objective: causal
pairs, and every token predicted. Both are divided by what the devices of all ranks can do: a GPU's peak as its
maker gives it, or else the measured product (on CPUs in FP32, all ranks at once).

Shares of time are means over ranks, measured as ``accounts.py`` says; a checkpoint's is the time that training
stands still for it, which does not hold the writing beside the training (``checkpoint.py`` measures all of it).
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from accounts import Accounts
from common import (
    SHAPES,
    VOCABULARY,
    configuration,
    forget_peak_memory,
    gathered,
    on_ranks,
    own_device,
    peak_memory,
    text,
)
from measured import Measured
from neox import Neox

from glm130b.config import RunConfig
from glm130b.corpus import PreparedCorpus
from glm130b.planning import Work, parameter_count, training_flops
from glm130b.tokenization import Tokenizer
from glm130b.training import Trainer, keep_freed_memory
from glm130b.training.checkpoint_writer import CheckpointWriter

PRECISIONS = ("fp32", "bf16", "fp16")
DEFAULTS = {"dry": (64, 8, 2), "small": (1024, 4, 2), "20m": (512, 8, 8), "1.3b": (2048, 64, 8)}
"""Length, sequences a step and micro-batch of each shape."""

TOLERANCES = {"fp32": 1e-4, "bf16": 2e-3, "fp16": 1e-3}
"""Largest relative departure of a step's loss from the FP32 run on the CPU."""


def measure(options: argparse.Namespace, measured: Measured, folder: Path) -> dict[str, Any]:
    """Warm up and take the rounds; what was found, on every rank."""
    trainer, config = measured.trainer, measured.config
    run = Path(gathered(str(folder))[0]) / config.train.precision
    writer = CheckpointWriter(run, config, trainer.tokenizer, trainer.data, trainer.mesh.world)
    others: dict[str, Neox] = {}
    if options.against_huggingface:
        sizes = SHAPES[options.shape] | {"vocab_size": VOCABULARY}
        for name, keep in (("neox", False), ("neox_same_allocator", True)):
            threads = torch.get_num_threads()
            others[name] = Neox(sizes, options.sequences, options.length, threads, keep_memory=keep)
        tell(f"GPT-NeoX (Hugging Face): {others['neox'].num_parameters / 1e6:.1f} M parameters")
    tokens = options.sequences * options.length
    causal = Work(tokens, tokens * (options.length + 1) // 2, tokens)
    for _ in range(options.warmup):
        trainer.step()
    skipped = trainer.progress.skipped_steps
    with closing(writer), closing(trainer):
        for number in range(1, options.rounds + 1):
            due = options.checkpoint_every and number % options.checkpoint_every == 0
            ours = measured.round(writer if due else None)
            entry = measured.rounds[-1]
            if options.against_dense_attention:
                entry["ours/dense_attention"] = measured.dense_attention() / ours
            for name, other in others.items():
                theirs = other.step()
                entry[f"{name}_tokens_per_second"] = tokens / theirs
                entry[f"{name}_mfu"] = training_flops(config.model, causal) / theirs / (entry["peak_gflops"] * 1e9)
                entry[f"ours/{name}"] = theirs / ours
            tell(f"round {number}: " + figures(entry))
        shares = measured.shares()
        skipped = trainer.progress.skipped_steps - skipped
        if options.dry_run or (measured.device.type == "cuda" and trainer.mesh.world.size > 1):
            found = measured.exposed_shares()
            if measured.device.type == "cuda":
                shares |= found | {"computation": shares["computation"] - sum(found.values())}
    for other in others.values():
        other.stop()
    rounds = measured.rounds
    return {
        "median": {name: statistics.median(entry[name] for entry in rounds) for name in rounds[0]},
        "shares": shares,
        "peak_memory": gathered(peak_memory(measured.device)),
        "skipped_steps": skipped,
        "rounds": rounds,
    }


def compare_with_cpu(options: argparse.Namespace, device: torch.device, text: tuple[Tokenizer, PreparedCorpus]) -> None:
    """Losses of a small model on ``device`` against those in FP32 on the CPU; exits if they depart too far."""
    shape = "dry" if options.dry_run else "small"

    def losses(precision: str, place: torch.device) -> list[float]:
        rates = "train.learning_rate={peak: 1e-3, initial: 1e-3, minimum: 1e-3}"
        changes = [rates, "train.loss_scale={initial: 1024}", f"train.precision={precision}", *how(options)]
        config = configuration(shape, *DEFAULTS[shape], *changes)
        with closing(Trainer(config, *text, place)) as trainer:
            return [trainer.step()["loss"] for _ in range(options.rounds)]

    expected = losses("fp32", torch.device("cpu"))
    tell(f"{options.rounds} steps in FP32 on the CPU: loss {expected[0]:.4f} to {expected[-1]:.4f}")
    failed = False
    for precision in options.precision:
        found = losses(precision, device)
        departure = max(abs(a / b - 1) for a, b in zip(found, expected, strict=True))
        failed = failed or not departure <= TOLERANCES[precision]
        tell(f"{precision} on {device}: departs by at most {departure:.1e} (tolerance {TOLERANCES[precision]:.0e})")
    if failed:
        sys.exit("The losses are not those of the CPU.")


def rank_main(options: argparse.Namespace) -> None:
    """What each rank does."""
    device, accounts = own_device(options.device), Accounts()
    accounts.watch()
    if device.type == "cpu":
        keep_freed_memory()
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    tell(f"{name}, torch {torch.__version__}, {torch.get_num_threads()} threads a rank")
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        data = text(Path(folder))
        if options.against_cpu:
            compare_with_cpu(options, device, data)
            return
        for precision in options.precision:
            config, parallel = configured(options, precision), options.parallel
            tell(
                f"{precision}: {parameter_count(config.model) / 1e6:.1f} M parameters, pipeline {parallel.pipeline} x "
                f"data {parallel.data} x tensor {parallel.tensor}, {options.sequences * options.length} tokens a step"
            )
            forget_peak_memory(device)
            result = results[precision] = measure(options, Measured(config, device, data, accounts), Path(folder))
            tell("median: " + figures(result["median"]))
            tell("shares of time: " + ", ".join(f"{name} {share:.1%}" for name, share in result["shares"].items()))
            memory = ", ".join(f"{size / 1e9:.2f}" for size in result["peak_memory"])
            tell(f"peak memory in GB, rank by rank: {memory}; steps skipped for overflow: {result['skipped_steps']}")
    if options.json and first_rank():
        options.json.write_text(json.dumps(results, indent=2) + "\n")


def configured(options: argparse.Namespace, precision: str) -> RunConfig:
    """The configuration of a run."""
    changes = [f"train.precision={precision}", *how(options), *options.set]
    return configuration(options.shape, options.length, options.sequences, options.micro_batch or 1, *changes)


def how(options: argparse.Namespace) -> list[str]:
    """Settings of recomputation and compilation; quoted, since YAML takes `on` and `off` for truth values."""
    return [f"train.recompute='{options.recompute}'", f"train.compile='{options.compile}'"]


def first_rank() -> bool:
    return not dist.is_initialized() or dist.get_rank() == 0


def tell(line: str) -> None:
    """Print on rank 0."""
    if first_rank():
        print(line, flush=True)


def figures(entry: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:,.3f}" for name, value in entry.items())


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=list(SHAPES), default="20m")
    parser.add_argument("--length", type=int, help="of a sequence")
    parser.add_argument("--sequences", type=int, help="of each step")
    parser.add_argument("--micro-batch", type=int, help="sequences of one pass; fewer by default in a pipeline")
    parser.add_argument("--precision", nargs="+", choices=PRECISIONS, default=["fp32"])
    parser.add_argument("--recompute", choices=["none", "selective", "full"], default="none")
    parser.add_argument("--compile", choices=["auto", "on", "off"], default="auto")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="any other setting")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--rounds", type=int, help="default 12")
    parser.add_argument("--warmup", type=int, default=2, help="steps before the first round")
    parser.add_argument("--checkpoint-every", type=int, help="rounds; by default 6, or never beside others")
    parser.add_argument("--against-huggingface", action="store_true", help="one rank on a CPU; needs the extra `hf`")
    parser.add_argument("--against-dense-attention", action="store_true", help="the same step with a dense mask")
    parser.add_argument("--against-cpu", action="store_true", help="no speed: losses of a small model in --precision")
    parser.add_argument("--dry-run", action="store_true", help="the same code on a tiny model, for one round")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    if options.dry_run:
        options.shape, options.warmup, options.checkpoint_every = "dry", 1, 1
    options.rounds = options.rounds or (1 if options.dry_run else 12)
    length, sequences, micro_batch = DEFAULTS[options.shape]
    options.length, options.sequences = options.length or length, options.sequences or sequences
    parallel = options.parallel = configured(options, options.precision[0]).parallel
    if options.micro_batch is None and parallel.pipeline > 1:
        options.micro_batch = max(1, options.sequences // (4 * parallel.pipeline * parallel.data))
    options.micro_batch = options.micro_batch or micro_batch
    if options.checkpoint_every is None:
        options.checkpoint_every = 0 if options.against_huggingface or options.against_dense_attention else 6
    return options


def main() -> None:
    options = parse()
    ranks = options.parallel.pipeline * options.parallel.data * options.parallel.tensor
    if ranks > 1 and (options.against_huggingface or options.against_dense_attention or options.against_cpu):
        sys.exit("Comparisons are made on one rank.")
    on_ranks(ranks, rank_main, options)


if __name__ == "__main__":
    main()
