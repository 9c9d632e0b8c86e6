"""Loader speed: tokens/s one core makes of each objective, against what training consumes.

Every round makes sequences of 2048 tokens of each objective for a while, in this process and by one worker
process, and takes one training step of the tiny model, one after the other, so that whatever else the machine
does falls on all alike. The text is the bundled corpus; prompts and answers are cut out of it, 40 to 440
tokens and 1 to 40. Reported are medians over the rounds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from glm130b.config import LoaderConfig, load_config
from glm130b.corpus import PreparedCorpus, prepare
from glm130b.samples import SampleStream
from glm130b.tokenization import Tokenizer
from glm130b.training import Trainer
from glm130b.training.loader import Loader

LENGTH = 2048
TARGETS = {"gmask": 1_000_000, "mask": 300_000}


@dataclass(frozen=True)
class Cut:
    """Instruction data cut out of text."""

    tokens: np.ndarray
    num_examples: int = 20_000

    @dataclass(frozen=True)
    class Example:
        input: np.ndarray
        target: np.ndarray

    def example(self, index: int) -> Example:
        start, prompt, answer = 13 * index, 40 + index * 7 % 400, 1 + index % 40
        text = self.tokens[start : start + prompt + answer].astype(np.int64)
        return self.Example(text[:prompt], text[prompt:])


def streams(corpus: PreparedCorpus, tokenizer: Tokenizer) -> dict[str, SampleStream]:
    """A stream of each objective alone, and all together, by the paper's settings."""
    base = load_config("130b", ["data.instructions={mip: {path: in memory}}"]).run
    told = {"mip": Cut(corpus.train["english"].shards[0].tokens)}
    settings: dict[str, dict[str, Any]] = {
        "gmask": {"instruction_share": 0, "mask_share": 0},
        "mask": {"instruction_share": 0, "mask_share": 1},
        "instruction": {"instruction_share": 1},
        "the paper's mixture": {},
    }
    found = {}
    for name, change in settings.items():
        objective = base.objective.model_copy(update=change)
        found[name] = SampleStream(base.data, objective, corpus.train, tokenizer.special, seed=1, instructions=told)
    return found


def speed(stream: SampleStream, seconds: float, first: int, workers: int) -> float:
    """Tokens made a second."""
    loader = Loader(stream, LoaderConfig(workers=workers, prefetch=32), first)
    loader.take(1)
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        loader.take(8)
        count += 8
    elapsed = time.perf_counter() - start
    loader.close()
    return count * LENGTH / elapsed


def trainer_for(corpus: PreparedCorpus, tokenizer: Tokenizer) -> Trainer:
    """The tiny preset's shape, which consumes the most, at the sequence length of the streams."""
    changes = [f"data.seq_length={LENGTH}", f"model.max_sequence_length={LENGTH}", "objective.windows_per_sequence=4"]
    config = load_config("tiny", [*changes, "train.micro_batch_size=4", "train.batch={end: 4}"]).run
    return Trainer(config, tokenizer, corpus, torch.device("cpu"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2.0, help="for each measurement")
    parser.add_argument("--json", type=Path, help="write every round here")
    options = parser.parse_args()
    tokenizer = Tokenizer.load()
    rounds = []
    with tempfile.TemporaryDirectory() as folder:
        corpus = prepare(load_config("tiny").run.data, tokenizer, Path(folder) / "data")
        made, trainer = streams(corpus, tokenizer), trainer_for(corpus, tokenizer)
        for number in range(options.rounds):
            row = {}
            for name, stream in made.items():
                row[name] = speed(stream, options.seconds, 100_000 * number, 0)
                row[f"{name}, 1 worker"] = speed(stream, options.seconds, 100_000 * number, 1)
            row["training"] = trainer.step()["tokens_per_second"]
            rounds.append(row)
            print(", ".join(f"{name} {value:,.0f}" for name, value in row.items()), flush=True)
    print(f"\n{'tokens/s (median)':<28}{'':>12}{'÷ training':>12}")
    training = statistics.median(row["training"] for row in rounds)
    for name in rounds[0]:
        median = statistics.median(row[name] for row in rounds)
        ratio = statistics.median(row[name] / row["training"] for row in rounds)
        target = TARGETS.get(name)
        note = f"   target {target:,}" if target else ""
        print(
            f"{name:<28}{median:>12,.0f}{ratio:>12,.0f}{note}"
            if name != "training"
            else f"{name:<28}{training:>12,.0f}"
        )
    if options.json:
        options.json.write_text(json.dumps(rounds, indent=1))


if __name__ == "__main__":
    main()
