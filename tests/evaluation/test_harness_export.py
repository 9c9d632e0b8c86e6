"""Tasks written as folders of lm-evaluation-harness, read without it."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from asking import FIXTURES, task_of

from glm130b.errors import ConfigError, DataError
from glm130b.evaluation import Options, known_tasks, load_items
from glm130b.evaluation.harness import export_task
from glm130b.evaluation.harness.documents import line_of, metric_names, question_of
from glm130b.evaluation.harness.hooks import Scorer
from glm130b.evaluation.items import Answer, Choose, Outcome, Predict, Question, Request, Write
from glm130b.evaluation.measure import scores_of, units_of
from glm130b.evaluation.modes import MODES
from glm130b.evaluation.plan import plan_of, questions_of
from glm130b.evaluation.questions import Questioner
from glm130b.evaluation.task import Task

pytestmark = pytest.mark.slow

EXPORTABLE = {
    name: task
    for name, task in known_tasks().items()
    if task.mode in ("choice", "generate", "lm") and task.normalise in ("sum", "char", "byte")
}


class Loader(yaml.SafeLoader):
    pass


Loader.add_constructor("!function", lambda loader, node: f"!{loader.construct_scalar(node)}")


def read_yaml(file: Path) -> dict[str, Any]:
    tree = yaml.load(file.read_text(encoding="utf-8"), Loader=Loader)
    assert isinstance(tree, dict)
    return tree


def read_lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def asked(task: Task, options: Options) -> list[list[Question]]:
    plan = list(plan_of(task, options))
    loaded = load_items(task, FIXTURES, shots=max(shots for _, shots, _ in plan))
    questioner = Questioner(task, loaded.pool)
    return [list(questions_of(task, questioner, prompt, loaded.items, shots)) for prompt, shots, _ in plan]


def outcomes_of(task: Task, questions: Sequence[Question], seed: int) -> tuple[list[Outcome], list[list[Any]]]:
    """What a model might answer, and the same as the harness hands it to the hooks."""
    draws = random.Random(seed)
    outcomes, results = [], []
    for question in questions:
        request: Request
        if task.mode == "choice":
            values = tuple(draws.gauss(-5, 1) for _ in question.options)
            request = Choose((), ((1,),) * len(values), task.mask)
            answer, found = Answer(values), [(value, False) for value in values]
        elif task.mode == "generate":
            text = draws.choice([*question.item.references, "something else", ""])
            request, answer, found = Write((), task.mask, "bidirectional", task.decode), Answer(text=text), [text]
        else:
            value = -draws.random() * 100
            request, answer, found = Predict((1,), 0, 1, task.mask), Answer((value,)), [value]
        outcomes.append(MODES[task.mode].outcome(task, question, [request], [answer]))
        results.append(found)
    return outcomes, results


@pytest.mark.parametrize("name", EXPORTABLE)
def test_hooks_score_as_a_run_does(name: str, tmp_path: Path) -> None:
    """From what lies in the files alone, by any of the task's metrics, and whatever the readers put into items."""
    task = EXPORTABLE[name]
    names = export_task(task, tmp_path, data=FIXTURES)
    (folder,) = tmp_path.iterdir()
    every = asked(task, Options())
    assert len(names) == len(set(names)) == len(every)
    scorer = Scorer(folder)
    for harness_name, questions in zip(names, every, strict=True):
        lines = read_lines(folder / f"{harness_name}.jsonl")
        assert [line["id"] for line in lines] == [question.item.id for question in questions]
        if task.mode != "lm":
            assert [line["text"] for line in lines] == [question.text for question in questions]
        outcomes, results = outcomes_of(task, questions, len(names))
        scores = scores_of(task, outcomes, units_of(task, outcomes))
        expected = dict(zip(metric_names(task), (score.value for score in scores), strict=True))
        found: dict[str, list[Any]] = {}
        for question, result in zip(questions, results, strict=True):
            processed = scorer.process_results({"question": line_of(question)}, result)
            for metric, value in json.loads(json.dumps(processed)).items():
                found.setdefault(metric, []).append(value)
        for metric, values in found.items():
            value = scorer.aggregation(metric)(values)
            assert (None if value != value else value) == pytest.approx(expected[metric], rel=1e-12)
        if "question" in lines[0]:
            assert [question_of(line["question"]).digest for line in lines] == [one.digest for one in questions]


@pytest.mark.parametrize("name", ["clue/afqmc", "clue/drcd", "mmlu", "wikitext2", "pile", "lambada"])
def test_what_the_yaml_says(name: str, tmp_path: Path) -> None:
    task = task_of(name)
    names = export_task(task, tmp_path, data=FIXTURES)
    (folder,) = tmp_path.iterdir()
    assert not any(str(tmp_path) in file.read_text(encoding="utf-8") for file in folder.iterdir())
    hooks = (folder / "hooks.py").read_text(encoding="utf-8")
    compile(hooks, "hooks.py", "exec")
    for harness_name, (prompt, shots, attention) in zip(names, plan_of(task, Options()), strict=True):
        tree = read_yaml(folder / f"{harness_name}.yaml")
        facts = tree["metadata"]["glm130b"]
        assert tree["task"] == harness_name
        assert tree["num_fewshot"] == 0
        assert tree["target_delimiter"] == ""
        assert (facts["task"], facts["prompt"], facts["shots"], facts["attention"], facts["mask"]) == (
            name,
            prompt.id,
            shots,
            attention,
            task.mask,
        )
        assert facts["licence"] == task.data.licence
        assert facts["files"][0]["sha256"]
        functions = [metric["aggregation"] for metric in tree["metric_list"]] + [tree.get("process_results", "")]
        for function in functions:
            if function.startswith("!"):
                assert f"\n{function.removeprefix('!hooks.')} = " in hooks
        assert ("glm130b" in hooks) == ("process_results" in tree)


def test_what_the_harness_measures_by_itself_needs_nothing_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (name, *_) = export_task(task_of("clue/afqmc"), tmp_path, data=FIXTURES)
    (folder,) = tmp_path.iterdir()
    tree = read_yaml(folder / f"{name}.yaml")
    assert tree["metric_list"] == [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}]
    datasets = ModuleType("datasets")
    datasets.Dataset = type("Dataset", (), {"from_list": staticmethod(list)})  # type: ignore[attr-defined]
    datasets.DatasetDict = dict  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", datasets)
    (folder / "hooks.py").rename(moved := tmp_path / "hooks.py")
    (folder / f"{name}.jsonl").rename(tmp_path / f"{name}.jsonl")
    scope: dict[str, Any] = {"__file__": str(moved)}
    exec(compile(moved.read_text(encoding="utf-8"), "hooks.py", "exec"), scope)
    dataset = scope["dataset"](**tree["dataset_kwargs"], **tree["metadata"])
    assert dataset["test"] == read_lines(tmp_path / f"{name}.jsonl")
    assert set(dataset["test"][0]) == {"id", "text", "options", "labels"}


def test_shots_directions_and_limits(tmp_path: Path) -> None:
    task = task_of("mmlu")
    (name,) = export_task(task, tmp_path, data=FIXTURES, options=Options(shots=(2,), limit=3))
    assert name.endswith("_2shot")
    lines = read_lines(tmp_path / "glm_mmlu" / f"{name}.jsonl")
    assert len(lines) == 3
    assert [line["text"] for line in lines] == [
        question.text
        for question in asked(task, Options(shots=(2,)))[0]
        if question.item.id in {line["id"] for line in lines}
    ]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("crows_pairs", "crows_pairs cannot be exported: the harness has no mode pair"),
        ("real_toxicity_prompts", "mode sample"),
        ("stereoset", "scores normalised by token"),
    ],
)
def test_what_the_harness_has_not_is_refused(name: str, reason: str, tmp_path: Path) -> None:
    task = next(task for known, task in known_tasks().items() if known.startswith(name) and known not in EXPORTABLE)
    with pytest.raises(ConfigError, match=reason):
        export_task(task, tmp_path, data=FIXTURES)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_whole_or_not_there(tmp_path: Path) -> None:
    task = task_of("clue/afqmc")
    broken = task.model_copy(
        update={"prompts": (*task.prompts, task.prompts[0].model_copy(update={"id": "x", "jinja": "{{"}))}
    )
    with pytest.raises(ConfigError):
        export_task(broken, tmp_path, data=FIXTURES)
    assert list(tmp_path.iterdir()) == []
    export_task(task, tmp_path, data=FIXTURES)
    with pytest.raises(DataError, match="exists already"):
        export_task(task, tmp_path, data=FIXTURES)


def test_wordings_of_like_names_stay_apart(tmp_path: Path) -> None:
    task = task_of("clue/afqmc")
    prompts = tuple(task.prompts[0].model_copy(update={"id": name}) for name in ("same?", "Same!", "同"))
    names = export_task(task.model_copy(update={"prompts": prompts}), tmp_path, data=FIXTURES)
    assert names == ["glm_clue_afqmc_same_0shot", "glm_clue_afqmc_same_0shot_1", "glm_clue_afqmc_0shot"]
