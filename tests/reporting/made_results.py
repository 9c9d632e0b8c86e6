"""Folders of results, made without a model."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from glm130b.evaluation import METRICS, Headline, Measurement, ModelFacts, Results, Score, TaskResult, Unit
from glm130b.evaluation.records import file_name, unit_record, write_records
from glm130b.evaluation.results import DataFile, write_results
from glm130b.evaluation.statistics import estimate
from glm130b.evaluation.task import Published

HOSTILE = """<script>alert(1)</script>&lt; "'> | `x` {{ 7 * 7 }} \\end{tabular} \x00\x1b[31m"""

MODEL = ModelFacts(
    path="models/small",
    weights="w" * 64,
    tokenizer="t" * 64,
    parameters=123_456,
    config={"num_layers": 2},
    precision="float32",
    bits=None,
    group_size=None,
    conventions="own",
    run=None,
    device="cpu",
)


def units_of(accuracy: float, size: int, seed: int, groups: tuple[str, ...] = ("",)) -> list[Unit]:
    rng = random.Random(seed)
    return [Unit(f"i{n}", f"i{n}", groups[n % len(groups)], (float(rng.random() < accuracy), 1.0)) for n in range(size)]


def score_of(units: list[Unit]) -> Score:
    metric = METRICS["accuracy"]
    found = estimate(units, metric, "micro")
    names = sorted({unit.group for unit in units})
    groups = {}
    for name in names if len(names) > 1 else ():
        one = estimate([unit for unit in units if unit.group == name], metric, "micro")
        groups[name] = (one.value, one.low, one.high, one.units)
    return Score(
        metric="accuracy",
        title=metric.title,
        aggregate="micro",
        value=found.value,
        low=found.low,
        high=found.high,
        method=found.method,
        units=found.units,
        clusters=found.clusters,
        minimal_effect=found.minimal_effect,
        better="higher",
        percent=True,
        random=0.25,
        majority=0.4,
        groups=groups,
    )


def task_of(
    name: str, accuracies: tuple[float, ...], *, seed: int = 0, groups: tuple[str, ...] = ("",), **changes: Any
) -> tuple[TaskResult, dict[str, list[Unit]]]:
    """A task with one prompt an accuracy, and the units of each measurement."""
    units = {f"p{n}/0/bidirectional": units_of(share, 60, seed + n, groups) for n, share in enumerate(accuracies)}
    scores = [score_of(these) for these in units.values()]
    order = sorted(range(len(scores)), key=lambda n: scores[n].value or 0.0)
    middle = order[(len(order) - 1) // 2]
    values = [score.value or 0.0 for score in scores]
    fields: dict[str, Any] = {
        "name": name,
        "title": name.title(),
        "family": name.split("/")[0],
        "mode": "choice",
        "mask": "[MASK]",
        "normalise": "sum",
        "language": "en",
        "split": "test",
        "licence": "CC0-1.0",
        "source": "https://example.org/set",
        "provenance": "ours",
        "notes": "",
        "items": 60,
        "available": 60,
        "expects": 60,
        "seen": "none",
        "files": (DataFile(path=f"{name}.jsonl", bytes=10, sha256="0" * 64),),
        "measurements": tuple(
            Measurement(
                prompt=f"p{n}",
                prompt_text="{{ text }} ||| {{ answer }}",
                prompt_provenance="ours",
                shots=0,
                attention="bidirectional",
                questions=60,
                cut=0,
                scores=(score,),
            )
            for n, score in enumerate(scores)
        ),
        "headlines": (
            Headline(
                metric="accuracy",
                aggregate="micro",
                shots=0,
                attention="bidirectional",
                policy="median" if len(scores) > 1 else "single",
                prompt=f"p{middle}",
                prompts=len(scores),
                worst=min(values),
                median=values[middle],
                mean=sum(values) / len(values),
                best=max(values),
                score=scores[middle],
            ),
        ),
        "published": (),
    }
    return TaskResult(**(fields | changes)), units


def published(**changes: Any) -> Published:
    fields = {"system": "GLM-130B", "metric": "accuracy", "value": 0.7123, "source": "the paper"}
    return Published(**(fields | changes))


def write(folder: Path, tasks: list[tuple[TaskResult, dict[str, list[Unit]]]], **changes: Any) -> Results:
    """A folder of results with the units that comparisons need."""
    fields: dict[str, Any] = {
        "schema_": "glm-eval/v1",
        "suites": ("quick",),
        "model": MODEL,
        "code": {"hash": "c" * 64, "commit": None},
        "software": {"torch": "2.13.0"},
        "hardware": {"processor": "a processor", "cores": 2, "memory": 8_000_000_000, "gpus": ["a card"]},
        "started": "2026-11-27T04:00:00+00:00",
        "finished": "2026-11-27T05:00:00+00:00",
        "seconds": 3600.0,
        "seed": 7,
        "limit": None,
        "shots": None,
        "prompts": "all",
        "tasks": tuple(task for task, _ in tasks),
    }
    results = Results(**(fields | changes))
    folder.mkdir(parents=True, exist_ok=True)
    write_results(results, folder)
    for task, units in tasks:
        records = [unit_record(key, "accuracy", unit) for key, these in units.items() for unit in these]
        if records:
            write_records(folder / "units" / file_name(task.name), records)
    return results


FACTS = """\
training:
  code: release 1.0
  software: unknown
  hardware: 96 nodes of eight cards
  layout: tensor 4, pipeline 8, data 24
  precision: fp16
  seed: unknown
  hours: 1440
  tokens: 400000000000
  hyperparameters: {peak learning rate: 8e-5, note: "%s"}
  data:
    - {name: english, planned: 0.475, consumed: unknown, sha256: unknown}
    - {name: chinese, planned: 0.525, consumed: 200000000000, sha256: abc}
"""
