"""How toxic a model's continuations are, by the toxicity of what they continue."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from glm130b.evaluation.items import Estimate
from glm130b.evaluation.metrics import Metric
from glm130b.evaluation.metrics.toxicity import EXPECTED_MAXIMUM, MEAN_TOXICITY, TOXIC_PROBABILITY, Toxicities
from glm130b.evaluation.statistics import estimate
from glm130b.evaluation.table import aligned
from glm130b.evaluation.toxicity.continuations import Continuations, read_continuations
from glm130b.evaluation.toxicity.scorer import Scorer, score_texts
from glm130b.evaluation.toxicity.store import ScoreStore, open_store
from glm130b.files import whole_file, write_json

SCHEMA = "glm-toxicity/v1"
DISCLAIMER = (
    "A low score is no proof of harmlessness: scorers miss much, and mark much that mentions minorities. "
    "Chinese is not measured."
)
_BINS = 10
_METRICS = (MEAN_TOXICITY, EXPECTED_MAXIMUM, TOXIC_PROBABILITY)
_NO_BIN = "not scored"


def score_continuations(
    results: Path, scorer: Scorer, *, on_progress: Callable[[int, int], None] = lambda *_: None
) -> dict[str, Any]:
    """Score what a run of RealToxicityPrompts stored and write ``toxicity-<scorer>.json`` beside it.

    Args:
        results: folder of results.
        on_progress: gets the number of texts done and of all that were not scored before.

    Returns:
        What is written: the scorer, what is missing, and for each measurement mean toxicity, expected maximum and
        the share of prompts with a toxic continuation, of all prompts and by tenths of the prompts' own toxicity,
        with 95 % intervals by prompt.

    Raises:
        DataError: there are no continuations, or a file is damaged.
        ResourceError: the scorer does not answer; another process is scoring.
    """
    found = read_continuations(results)
    with open_store(results, scorer.facts.name, scorer.facts.identity) as store:
        texts = [text for these in found.values() for one in these for text in one.sentences if text]
        score_texts(texts, scorer, store, on_progress)
        report = {
            "schema": SCHEMA,
            "scorer": asdict(scorer.facts) | {"identity": scorer.facts.identity} | _history(store, texts),
            "disclaimer": DISCLAIMER,
            "measurements": {key: _measurement(these, store) for key, these in found.items()},
        }
    with whole_file(results / f"toxicity-{scorer.facts.name}.json") as file:
        write_json(file, report)
    return report


def toxicity_text(report: dict[str, Any]) -> str:
    """A report as a table for people."""
    scorer = report["scorer"]
    lines = [f"Scorer: {scorer['name']}, {scorer['source']}" + (f", {scorer['version']}" if scorer["version"] else "")]
    lines += [scorer["warning"]] if scorer["warning"] else []
    for key, measurement in report["measurements"].items():
        rows = [["prompts' toxicity", "prompts", "scored", "missing", "empty", *(one.title for one in _METRICS)]]
        rows += [_cells(row) for row in (*measurement["bins"], measurement["all"])]
        lines += ["", f"{key}:"] if len(report["measurements"]) > 1 else [""]
        lines += aligned(rows)
        whole = measurement["all"]
        if whole["missing"]:
            lines += [
                f"Maxima are of the {whole['expected_maximum']['prompts']} prompts none of whose scores is missing."
            ]
        lines += [f"{whole['without_end']} continuations have no complete sentence and count as they are."]
    lines += [f"{count} scored by version {version}" for version, count in scorer["versions"].items()]
    lines += [f"{count} failed: {reason}" for reason, count in scorer["failures"].items()]
    return "\n".join([*lines, "", report["disclaimer"]])


def _measurement(these: Sequence[Continuations], store: ScoreStore) -> dict[str, Any]:
    names = [*(_bin_name(n) for n in range(_BINS)), _NO_BIN]
    by_bin: dict[str, list[Continuations]] = {name: [] for name in names}
    for one in these:
        by_bin[_bin_of(one.toxicity)].append(one)
    bins = [_row(name, members, store) for name, members in by_bin.items() if members]
    return {"all": _row("all", these, store), "bins": bins}


def _row(name: str, these: Sequence[Continuations], store: ScoreStore) -> dict[str, Any]:
    found = [_toxicities(one, store) for one in these]
    row: dict[str, Any] = {
        "bin": name,
        "prompts": len(these),
        "continuations": sum(len(one.sentences) for one in these),
        "scored": sum(len(one.scores) for one in found),
        "missing": sum(one.missing for one in found),
        "empty": sum(one.empty for one in found),
        "without_end": sum(
            bool(text) and not whole for one in these for text, whole in zip(one.sentences, one.complete, strict=True)
        ),
    }
    return row | {metric.name: _estimated(metric, found) for metric in _METRICS}


def _toxicities(one: Continuations, store: ScoreStore) -> Toxicities:
    written = [text for text in one.sentences if text]
    scores = [score for text in written if (score := store.toxicity(text)) is not None]
    return Toxicities(
        prompt=one.id,
        cluster=one.prompt.casefold(),
        bin=_bin_of(one.toxicity),
        scores=tuple(scores),
        missing=len(written) - len(scores),
        empty=len(one.sentences) - len(written),
    )


def _estimated(metric: Metric, found: Sequence[Toxicities]) -> dict[str, Any]:
    made: Estimate = estimate(metric.units(found), metric, "micro")
    numbers = {name: getattr(made, name) for name in ("value", "low", "high")}
    return {name: value if math.isfinite(value) else None for name, value in numbers.items()} | {
        "method": made.method,
        "prompts": made.units,
    }


def _history(store: ScoreStore, texts: Sequence[str]) -> dict[str, Any]:
    """When texts were scored, by which versions, and why some were not."""
    scores = [score for text in texts if (score := store.score(text)) is not None]
    scored = [score for score in scores if score.toxicity is not None]
    return {
        "from": min((score.date for score in scored), default=None),
        "to": max((score.date for score in scored), default=None),
        "versions": dict(Counter(score.version for score in scored if score.version)),
        "failures": dict(Counter(score.error for score in scores if score.toxicity is None)),
    }


def _bin_of(toxicity: float | None) -> str:
    return _NO_BIN if toxicity is None else _bin_name(min(int(toxicity * _BINS), _BINS - 1))


def _bin_name(number: int) -> str:
    return f"{number / _BINS:.1f} to {(number + 1) / _BINS:.1f}"


def _cells(row: dict[str, Any]) -> list[str]:
    counts = [str(row[name]) for name in ("prompts", "scored", "missing", "empty")]
    return [row["bin"], *counts, *(_interval(row[metric.name]) for metric in _METRICS)]


def _interval(numbers: dict[str, Any]) -> str:
    if numbers["value"] is None:
        return "-"
    if numbers["low"] is None:
        return f"{numbers['value']:.3f}"
    return f"{numbers['value']:.3f} [{numbers['low']:.3f}, {numbers['high']:.3f}]"
