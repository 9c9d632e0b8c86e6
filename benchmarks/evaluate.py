"""What scoring options side by side saves: one pass for all options of a question against one for each.

Both answer the same questions with the same model under the same budget of padded tokens, batched and sorted alike;
they differ in that the one reads a question once and the other once an option. Rounds alternate, and so does who
goes first; each is timed as a whole. Reported are the medians over the rounds of each round's ratio.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from common import SHAPES, configuration

from glm130b.evaluation import Engine
from glm130b.evaluation.items import Choose
from glm130b.model import build_model
from glm130b.tokenization import Tokenizer

SAME = 1e-4
"""Largest difference of log-probabilities: the two add up in other orders, over up to 16 tokens."""

KINDS = {
    "four options of 1 token after 400 tokens": (400, 4, 1),
    "four options of 16 tokens after 400 tokens": (400, 4, 16),
    "three options of 4 tokens after 60 tokens": (60, 3, 4),
}


def questions(words: range, count: int, length: int, options: int, tokens: int) -> list[Choose]:
    rng = random.Random(0)

    def some(number: int) -> tuple[int, ...]:
        return tuple(rng.choices(words, k=number))

    return [
        Choose(some(rng.randint(length // 2, length)), tuple(some(tokens) for _ in range(options)), "[MASK]")
        for _ in range(count)
    ]


def scores(engine: Engine, asked: Sequence[Choose]) -> tuple[list[float], float]:
    """Log-probabilities, one request after the other, and seconds."""
    start = time.perf_counter()
    found = {number: answer.log_probs for batch in engine.answer(asked) for number, answer in batch}
    return [value for number in range(len(asked)) for value in found[number]], time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=list(SHAPES), default="20m")
    parser.add_argument("--questions", type=int, default=16)
    parser.add_argument("--batch-tokens", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dry-run", action="store_true", help="the same code on a tiny model, for two rounds")
    parser.add_argument("--json", type=Path, help="also write every round here")
    options = parser.parse_args()
    if options.dry_run:
        options.shape, options.questions, options.rounds = "dry", 4, 2
    tokenizer = Tokenizer.load()
    config = configuration(options.shape, 512, 1, 1).model.model_copy(update={"max_sequence_length": 512})
    model = build_model(config, seed=0).eval().requires_grad_(False).to(options.device)
    engine = Engine(model, tokenizer, batch_tokens=options.batch_tokens)
    print(f"torch {torch.__version__}, {options.device}, {torch.get_num_threads()} threads, {options.rounds} rounds")
    found: dict[str, list[float]] = {}
    for name, sizes in KINDS.items():
        together = questions(range(1000, 1000 + 8192), options.questions, *sizes)
        apart = [replace(asked, options=(option,)) for asked in together for option in asked.options]
        contestants = [("together", together), ("apart", apart)]
        ratios: list[float] = []
        for number in range(options.rounds + 1):
            results = {name: scores(engine, asked) for name, asked in contestants}
            contestants.reverse()
            pairs = zip(results["together"][0], results["apart"][0], strict=True)
            difference = max(abs(one - other) for one, other in pairs)
            if not difference <= SAME:
                sys.exit(f"Log-probabilities differ by {difference}.")
            if number:  # the first round warms up
                ratios.append(results["apart"][1] / results["together"][1])
        found[name] = ratios
        print(f"{name}: {statistics.median(ratios):.2f} times as fast ({min(ratios):.2f} to {max(ratios):.2f})")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
