"""Training speed: tokens/s and model FLOP utilisation, against this machine's own matrix product.

Every round times the machine's FP32 matrix product, one training step of ours and, if asked for, one of
Hugging Face's GPT-NeoX of the same sizes on the same number of tokens, one after the other, so that
whatever else the machine does falls on all alike. GPT-NeoX runs in processes of its own, which sleep
meanwhile: once with the allocator as it comes, once with ours (docs/decisions/0003-allocator.md). Reported
are medians over the rounds of each round's ratios.

Utilisation counts only what the objective needs: linear maps at real tokens, attention between tokens that
see one another, the output layer at tokens to predict; three times the forward pass. GPT-NeoX is counted
by its own objective: causal pairs, and every token predicted.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from glm130b.config import load_config
from glm130b.corpus import prepare
from glm130b.planning import Work, parameter_count, training_flops
from glm130b.tokenization import Tokenizer
from glm130b.training import Trainer, keep_freed_memory
from glm130b.training.batch import work_of

SHAPE = {"hidden_size": 384, "num_layers": 8, "num_heads": 6, "ffn_size": 1024, "vocab_size": 16384}


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure_peak(size: int = 2048) -> float:
    """Best of five FP32 products of square matrices, in FLOP/s."""
    a, b = torch.randn(size, size), torch.randn(size, size)
    return 2 * size**3 / min(seconds(lambda: a @ b) for _ in range(5))


def our_trainer(folder: Path, sequences: int, length: int) -> Trainer:
    model = ", ".join(f"{name}: {value}" for name, value in SHAPE.items())
    overrides = [
        f"model={{{model}, max_sequence_length: {length}}}",
        f"data.seq_length={length}",
        "objective.windows_per_sequence=4",
        f"train.micro_batch_size={sequences}",
        f"train.batch={{end: {sequences}}}",
        "train.total=1M samples",
    ]
    config = load_config("tiny", overrides).run
    tokenizer = Tokenizer.load()
    corpus = prepare(config.data, tokenizer, folder / "data")
    return Trainer(config, tokenizer, corpus, torch.device("cpu"))


def neox_worker(pipe: Connection, sequences: int, length: int, threads: int, keep_memory: bool) -> None:
    """A process that takes one AdamW step of Hugging Face's GPT-NeoX each time it is asked."""
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    torch.set_num_threads(threads)
    if keep_memory:
        keep_freed_memory()
    # NeoX has a plain feed-forward of two matrices: 1.5 times ours in width costs what GeGLU's three do.
    model = GPTNeoXForCausalLM(
        GPTNeoXConfig(
            hidden_size=SHAPE["hidden_size"],
            num_hidden_layers=SHAPE["num_layers"],
            num_attention_heads=SHAPE["num_heads"],
            intermediate_size=SHAPE["ffn_size"] * 3 // 2,
            vocab_size=SHAPE["vocab_size"],
            max_position_embeddings=length,
            tie_word_embeddings=True,
            use_cache=False,
        )
    ).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    generator = torch.Generator().manual_seed(0)

    def step() -> None:
        tokens = torch.randint(0, SHAPE["vocab_size"], (sequences, length), generator=generator)
        optimizer.zero_grad(set_to_none=True)
        model(input_ids=tokens, labels=tokens).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    step()
    pipe.send(sum(parameter.numel() for parameter in model.parameters()))
    while pipe.recv():
        pipe.send(seconds(step))


class Neox:
    """GPT-NeoX in a process of its own, with the allocator as its users have it or set as ours is."""

    def __init__(self, sequences: int, length: int, threads: int, *, keep_memory: bool) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        arguments = (theirs, sequences, length, threads, keep_memory)
        context.Process(target=neox_worker, args=arguments, daemon=True).start()
        self.num_parameters: int = self._pipe.recv()

    def step(self) -> float:
        """Seconds of one step."""
        self._pipe.send(True)
        taken: float = self._pipe.recv()
        return taken

    def stop(self) -> None:
        """End the process."""
        self._pipe.send(False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--sequences", type=int, default=8, help="sequences of each step")
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--against-huggingface", action="store_true", help="needs the extra `hf`")
    parser.add_argument("--against-dense-attention", action="store_true", help="the same step with a dense mask")
    parser.add_argument("--json", type=Path, default=None, help="also write the figures here")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    keep_freed_memory()
    tokens = options.sequences * options.length
    rounds: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        trainer = our_trainer(Path(folder), options.sequences, options.length)
        print(f"{platform.machine()}, torch {torch.__version__}, {torch.get_num_threads()} threads")
        print(f"ours: {parameter_count(trainer.config.model) / 1e6:.1f} M parameters, {tokens} tokens a step")
        others: dict[str, Neox] = {}
        if options.against_huggingface:
            for name, keep in (("neox", False), ("neox_same_allocator", True)):
                others[name] = Neox(options.sequences, options.length, torch.get_num_threads(), keep_memory=keep)
            count = others["neox"].num_parameters
            print(f"GPT-NeoX (Hugging Face): {count / 1e6:.1f} M parameters, {tokens} tokens a step")
        trainer.step()
        causal = Work(tokens, options.sequences * options.length * (options.length + 1) // 2, tokens)
        for number in range(options.rounds):
            peak = measure_peak()
            consumed = trainer.progress.samples
            work = work_of([trainer.stream[n] for n in range(consumed, consumed + options.sequences)])
            progress = trainer.progress
            ours = seconds(trainer.step)
            peak = max(peak, measure_peak())
            entry = {
                "peak_gflops": peak / 1e9,
                "tokens_per_second": tokens / ours,
                "mfu": training_flops(trainer.config.model, work) / ours / peak,
            }
            if options.against_dense_attention:
                trainer.progress = progress  # the same sequences again
                trainer.model.attention_backend = "sdpa"
                entry["ours/dense_attention"] = seconds(trainer.step) / ours
                trainer.model.attention_backend = "auto"
            for name, other in others.items():
                theirs = other.step()
                entry[f"{name}_tokens_per_second"] = tokens / theirs
                entry[f"{name}_mfu"] = training_flops(trainer.config.model, causal) / theirs / peak
                entry[f"ours/{name}"] = theirs / ours
            rounds.append(entry)
            print(f"round {number + 1}: " + "  ".join(f"{name} {value:,.3f}" for name, value in entry.items()))
        for other in others.values():
            other.stop()
    medians = {name: statistics.median(entry[name] for entry in rounds) for name in rounds[0]}
    print("median:  " + "  ".join(f"{name} {value:,.3f}" for name, value in medians.items()))
    if options.json:
        options.json.write_text(json.dumps({"rounds": rounds, "median": medians}, indent=2) + "\n")


if __name__ == "__main__":
    main()
