"""Tasks through a model, from files to results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from glm130b.evaluation.data_files import Loaded, load_items
from glm130b.evaluation.encode import Encoder
from glm130b.evaluation.items import Answer, Item, Outcome, Request, Unit
from glm130b.evaluation.measure import headlines, scores_of, units_of
from glm130b.evaluation.modes import MODES
from glm130b.evaluation.plan import Options, plan_of, questions_of
from glm130b.evaluation.questions import Questioner
from glm130b.evaluation.records import file_name, prompt_record, sample_record, unit_record, write_records
from glm130b.evaluation.results import Measurement, TaskResult
from glm130b.evaluation.seen import Seen
from glm130b.evaluation.task import Attention, Prompt, Task

_CHUNK = 1024
"""So many questions are encoded at once: that bounds memory, and sorting by length still has something to sort."""


@dataclass(frozen=True)
class Step:
    """How far a task is: ``done`` of ``total`` questions; a part of a long document is a part of a question."""

    task: str
    done: float
    total: int


@dataclass
class Runner:
    """Runs tasks.

    Attributes:
        ask: answers requests, from memory where it can; calls back with the number answered so far.
        out: gets ``samples/``, ``prompts/`` and ``units/``.
    """

    ask: Callable[[Sequence[Request], Callable[[int], None]], list[Answer]]
    encoder: Encoder
    data: Path | None
    out: Path
    seen: Seen
    options: Options = field(default_factory=Options)
    on_step: Callable[[Step], None] = lambda step: None

    def run(self, task: Task) -> TaskResult:
        """Measure a task with each of its wordings, numbers of examples and directions of attention.

        Raises:
            DataError, ConfigError: its files or wordings are not what they should be.
        """
        plan = list(plan_of(task, self.options))
        loaded = load_items(
            task,
            self.data,
            limit=self.options.limit,
            shots=max(shots for _, shots, _ in plan),
            seed=self.options.seed,
        )
        questioner = Questioner(task, loaded.pool, seed=self.options.seed)
        total = len(plan) * len(loaded.items)
        measurements: list[Measurement] = []
        units: dict[str, dict[str, list[Unit]]] = {}
        samples, prompts, parts = [], [], []
        for n, (prompt, shots, attention) in enumerate(plan):
            step = _Counter(self.on_step, task.name, n * len(loaded.items), total)
            outcomes = self._outcomes(task, questioner, prompt, shots, attention, loaded.items, step)
            found = units_of(task, outcomes)
            measurement = Measurement(
                prompt=prompt.id,
                prompt_text=prompt.jinja,
                prompt_provenance=prompt.provenance,
                shots=shots,
                attention=attention,
                questions=len(outcomes),
                cut=sum(getattr(outcome, "cut", 0) > 0 for outcome in outcomes),
                scores=scores_of(task, outcomes, found),
            )
            key = measurement.key
            measurements.append(measurement)
            units[key] = found
            samples += [sample_record(key, outcome) for outcome in outcomes]
            prompts += [prompt_record(key, outcome.question) for outcome in outcomes]
            parts += [unit_record(key, name, unit) for name, these in found.items() for unit in these]
        for folder, records in (("samples", samples), ("prompts", prompts), ("units", parts)):
            write_records(self.out / folder / file_name(task.name), records)
        return self._result(task, loaded, measurements, units)

    def _outcomes(
        self,
        task: Task,
        questioner: Questioner,
        prompt: Prompt,
        shots: int,
        attention: Attention,
        items: Sequence[Item],
        step: _Counter,
    ) -> list[Outcome]:
        mode, outcomes = MODES[task.mode], list[Outcome]()
        asked = questions_of(task, questioner, prompt, items, shots)
        while questions := list(islice(asked, _CHUNK)):
            requests = [mode.ask(task, question, attention, self.encoder) for question in questions]
            flat = [request for these in requests for request in these]
            answers = iter(self.ask(flat, step.within(len(outcomes), len(questions) / max(1, len(flat)))))
            outcomes += [
                mode.outcome(task, question, these, [next(answers) for _ in these])
                for question, these in zip(questions, requests, strict=True)
            ]
            step(len(outcomes))
        return outcomes

    def _result(
        self,
        task: Task,
        loaded: Loaded,
        measurements: Sequence[Measurement],
        units: dict[str, dict[str, list[Unit]]],
    ) -> TaskResult:
        seen, seen_by = self.seen.of(task)
        length = self.encoder.max_length
        adapted = []
        if any(self.options.shots or ()) and task.prompts and not task.data.fewshot:
            adapted.append("asked without solved examples: the task has none")
        if task.window is not None and task.window > length:
            adapted.append(f"windows of {length} tokens, not {task.window}; the model reads no more")
        return TaskResult(
            name=task.name,
            title=task.title,
            family=task.family,
            mode=task.mode,
            mask=task.mask,
            normalise=task.normalise,
            language=task.data.language,
            split=task.data.split,
            licence=task.data.licence,
            source=task.data.source,
            provenance=task.provenance,
            notes=task.notes,
            items=len(loaded.items),
            available=loaded.available,
            expects=task.data.expects,
            seen=seen,
            seen_by=seen_by,
            adapted=tuple(adapted),
            files=loaded.files,
            measurements=tuple(measurements),
            headlines=tuple(headlines(task, measurements, units)),
            published=task.published,
        )


class _Counter:
    def __init__(self, on_step: Callable[[Step], None], task: str, before: int, total: int) -> None:
        self._on_step, self._task, self._before, self._total = on_step, task, before, total

    def within(self, before: int, share: float) -> Callable[[int], None]:
        """Counts requests, each of which is a share of a question."""
        return lambda done: self(before + done * share)

    def __call__(self, done: float) -> None:
        self._on_step(Step(self._task, self._before + done, self._total))
