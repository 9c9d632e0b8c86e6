"""What is to hold, and whether it does: ratios of what was measured in the same round."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

Key = tuple[str, str]
"""A system and what it did."""
Series = dict[Key, list[dict[str, float]]]
"""Of each round the seconds by the clock, ``wall``, and of processor time, ``cpu``; or a size in ``bytes``."""

PREFILLS = (("int4-row", "Q4_0"), ("int4-g128", "Q4_0"), ("int8-row", "Q8_0"))
"""Whose prefill is compared with which of llama.cpp's formats."""


@dataclass(frozen=True)
class Row:
    """A ratio, ``factor`` times ``over`` by ``under``, and its goal: at least, or at most, so much."""

    text: str
    over: Key
    under: Key
    goal: float | None = None
    at_most: bool = False
    factor: float = 1.0

    def judged(self, series: Series, threads: int) -> dict[str, Any]:
        """Median and quartiles over the rounds of every round's ratio."""
        pairs = list(zip(series[self.over], series[self.under], strict=True))
        found: dict[str, Any] = {"text": self.text, "threads": threads, "goal": self.goal, "at_most": self.at_most}
        for measure in pairs[0][0]:
            values = [self.factor * over[measure] / under[measure] for over, under in pairs]
            quartiles = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3
            found[measure] = quartiles
        median = found[_shown(found)][1]
        if self.goal is not None:
            found["met"] = median <= self.goal if self.at_most else median >= self.goal
        return found


def _decode_rows() -> Iterator[Row]:
    def against(rival: str, kind: str, text: str, goal: float | None) -> Row:
        return Row(f"{text} decode ÷ {rival}", (rival, "decode"), (kind, "decode"), goal)

    yield Row("INT4 row decode ÷ read bandwidth", ("int4-row", "read"), ("int4-row", "decode"), 0.88)
    yield Row("INT4 g128 decode ÷ read bandwidth", ("int4-g128", "read"), ("int4-g128", "decode"), 0.88)
    yield Row("INT8 row decode ÷ read bandwidth", ("int8-row", "read"), ("int8-row", "decode"))
    yield against("llama.cpp Q4_0", "int4-row", "INT4 row, output INT4,", 1.8)
    yield against("llama.cpp Q4_0", "int4-row-fp16", "INT4 row, output FP16,", 1.45)
    yield against("llama.cpp Q4_0", "int4-g128", "INT4 g128, output INT4,", 1.7)
    yield against("llama.cpp Q4_0", "int4-g128-int8", "INT4 g128, output INT8,", None)
    yield against("llama.cpp Q8_0", "int8-row", "INT8 row", 1.5)
    yield against("llama.cpp Q4_0 without AMX", "int4-row", "INT4 row, output INT4,", 1.8)
    yield against("llama.cpp Q4_0 without AMX", "int4-row-fp16", "INT4 row, output FP16,", 1.45)
    yield against("llama.cpp Q4_0 without AMX", "int4-g128", "INT4 g128, output INT4,", 1.7)
    yield against("llama.cpp Q8_0 without AMX", "int8-row", "INT8 row", 1.5)
    yield against("CTranslate2 INT8", "int8-row", "INT8 row", 1.1)
    yield against("Hugging Face FP32", "int4-row", "INT4 row", 8.0)
    yield against("Hugging Face BF16", "int4-row", "INT4 row", None)
    yield against("llama.cpp F16", "int4-row", "INT4 row", None)


def all_rows(kinds: Sequence[str], shapes: Sequence[tuple[int, int]], samplings: Sequence[str]) -> Iterator[Row]:
    """Every row, in the order of the table.

    Args:
        kinds, shapes: of the matrix-vector products.
        samplings: ways of choosing a token.
    """
    for kind in kinds:
        for outputs, inputs in shapes:
            name = f"{kind} {outputs}x{inputs}"
            yield Row(f"{name} product ÷ read bandwidth", ("products", f"{name} read"), ("products", name), 0.9)
    yield from _decode_rows()
    for kind in ("int4-row", "int4-g128"):
        for batch in (2, 4, 8, 16):
            goal = 2.2 if batch == 4 else None
            text = f"{kind} throughput of batch {batch} ÷ batch 1"
            yield Row(text, (kind, "batch 1"), (kind, f"batch {batch}"), goal, factor=batch)
    rivals = [(kind, rival + end) for end in ("", " without AMX") for kind, rival in PREFILLS]
    for kind, rival in rivals:
        for tokens, goal in ((128, 1.0), (512, 1.2)):
            what = f"prefill {tokens}"
            text = f"{kind} prefill of {tokens} ÷ llama.cpp {rival}"
            yield Row(text, (f"llama.cpp {rival}", what), (kind, what), goal)
    for verify in ("", ", checksums compared"):
        text = f"peak resident memory on load{verify} ÷ file"
        yield Row(text, ("load", f"peak{verify}"), ("load", "file"), 1.1, at_most=True)
        yield Row(f"anonymous memory after load{verify} ÷ file", ("load", f"anonymous{verify}"), ("load", "file"))
    for name in samplings:
        text = f"sampling share of a token, {name}, vocabulary 150 528"
        yield Row(text, ("int4-row 150528", f"{name} draw"), ("int4-row 150528", f"{name} token"), 0.03, at_most=True)


def _shown(row: dict[str, Any]) -> str:
    return "wall" if "wall" in row else "bytes"


def table(found: Sequence[dict[str, Any]]) -> str:
    """As Markdown."""
    lines = [
        "| ratio | threads | goal | median | quartiles | by processor time | met |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in found:
        low, median, high = row[_shown(row)]
        goal = "" if row["goal"] is None else f"{'≤' if row['at_most'] else '≥'} {row['goal']:g}"
        met = {True: "yes", False: "**no**"}.get(row.get("met"), "")  # type: ignore[arg-type]
        cpu = f"{row['cpu'][1]:.3f}" if "cpu" in row else ""
        lines.append(
            f"| {row['text']} | {row['threads']} | {goal} | {median:.3f} | {low:.3f} – {high:.3f} | {cpu} | {met} |"
        )
    return "\n".join(lines)
