"""``results.json``: what an evaluation found, as values with a published schema."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from glm130b.errors import DataError
from glm130b.evaluation.items import Better, Estimate
from glm130b.evaluation.task import Attention, Mask, Mode, Published
from glm130b.files import read_json, write_whole

FILE = "results.json"


def _finite(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value


Number = Annotated[float | None, BeforeValidator(_finite)]
"""Null where a number is undefined."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class Score(_Part):
    """One metric of one measurement.

    Attributes:
        value, low, high: in the metric's own scale, shares from 0 to 1; the interval is of 95 %.
        aggregate: ``micro`` over all units, or ``macro``, the mean over groups.
        random, majority: what guessing evenly and always giving the commonest answer would score.
        groups: value, low, high and units by group.
    """

    metric: str
    title: str
    aggregate: Literal["micro", "macro"]
    value: Number
    low: Number
    high: Number
    method: str
    units: int
    clusters: int
    minimal_effect: Number
    better: Better
    ideal: Number = None
    percent: bool
    random: Number = None
    majority: Number = None
    groups: dict[str, tuple[Number, Number, Number, int]] = {}

    @property
    def estimate(self) -> Estimate:
        """The same as the statistics' own type, with nan for null."""
        numbers = [math.nan if one is None else one for one in (self.value, self.low, self.high, self.minimal_effect)]
        return Estimate(numbers[0], numbers[1], numbers[2], self.method, self.units, self.clusters, numbers[3])


class Measurement(_Part):
    """One wording, number of examples and direction of attention.

    Attributes:
        cut: questions whose beginning was cut off because they were too long.
        missing: questions without an answer, such as continuations that were not scored.
    """

    prompt: str
    prompt_text: str
    prompt_provenance: str
    shots: int
    attention: Attention
    questions: int
    cut: int
    missing: int = 0
    scores: tuple[Score, ...]

    @property
    def key(self) -> str:
        """Names a measurement within its task."""
        return f"{self.prompt or '-'}/{self.shots}/{self.attention}"


class Headline(_Part):
    """What a task's row in a table shows: one metric over all wordings.

    Attributes:
        policy: ``median`` (the lower one of two), ``max``, ``mean``.
        prompt: the wording shown; empty for ``mean``.
        prompts: how many there are; ``worst``, ``median``, ``mean``, ``best`` are over them.
    """

    metric: str
    aggregate: Literal["micro", "macro"]
    shots: int
    attention: Attention
    policy: str
    prompt: str
    prompts: int
    worst: Number
    median: Number
    mean: Number
    best: Number
    score: Score


class DataFile(_Part):
    """A file that was read."""

    path: str
    bytes: int
    sha256: str


class TaskResult(_Part):
    """All measurements of one task.

    Attributes:
        items: scored; ``available``: in the files; ``expects``: in the complete set, as published.
        seen: whether the model's training data held the set, or sets of its kind.
        seen_by: the datasets that did.
        adapted: what had to be done otherwise than the task says, in sentences.
    """

    name: str
    title: str
    family: str
    mode: Mode
    mask: Mask
    normalise: str
    language: str
    split: str
    licence: str
    source: str
    provenance: str
    notes: str
    items: int
    available: int
    expects: int | None
    seen: Literal["none", "label_space", "dataset", "unknown"]
    seen_by: tuple[str, ...] = ()
    adapted: tuple[str, ...] = ()
    files: tuple[DataFile, ...]
    measurements: tuple[Measurement, ...]
    headlines: tuple[Headline, ...]
    published: tuple[Published, ...]


class ModelFacts(_Part):
    """Which model was measured, and how it computed."""

    path: str
    weights: str
    tokenizer: str
    parameters: int
    config: dict[str, Any]
    precision: str
    bits: int | None
    group_size: int | None
    conventions: str
    run: str | None
    device: str


class Results(_Part):
    """Everything an evaluation found.

    Attributes:
        left_out: tasks that were asked for and whose files were not there.
        failed: what was wrong with tasks that could not be measured, by name.
        seconds: of this run and of those before whose results are here too.
        complete: whether the run came to its end; results are written after each task.
    """

    schema_: Literal["glm-eval/v1"] = "glm-eval/v1"
    suites: tuple[str, ...]
    model: ModelFacts
    code: dict[str, str | None]
    software: dict[str, str]
    hardware: dict[str, Any]
    started: str
    finished: str
    seconds: float
    seed: int
    limit: int | None
    shots: tuple[int, ...] | None
    prompts: str
    tasks: tuple[TaskResult, ...]
    left_out: tuple[str, ...] = ()
    failed: dict[str, str] = {}
    complete: bool = True

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=lambda name: name.rstrip("_"), populate_by_name=True
    )


def write_results(results: Results, folder: Path) -> Path:
    """Write ``results.json``, whole or not at all."""
    path = folder / FILE
    write_whole(path, results.model_dump_json(indent=1, by_alias=True) + "\n")
    return path


def read_results(path: Path) -> Results:
    """Read a results file, or the one in a folder.

    Raises:
        DataError: it is missing, not JSON, or of another schema; naming the key.
    """
    file = path / FILE if path.is_dir() else path
    if not file.exists():
        raise DataError(f"There is no {file}.", "Give the folder that `glm eval run` wrote.")
    tree = read_json(file, DataError)
    try:
        return Results.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise DataError(
            f"{file} is not a file of results: {key}: {first['msg']}.", "Run the evaluation anew."
        ) from None


def task_result(results: Results, name: str) -> TaskResult:
    """One task's results.

    Raises:
        DataError: it was not measured.
    """
    found = next((task for task in results.tasks if task.name == name), None)
    if found is None:
        known = ", ".join(task.name for task in results.tasks)
        raise DataError(f"There are no results of {name}.", f"There are: {known}.")
    return found


def results_schema() -> dict[str, Any]:
    """JSON Schema of ``results.json``; ``docs/results.schema.json`` holds it."""
    return Results.model_json_schema(by_alias=True)
