"""A folder with a model, a folder with data, a folder of results."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from glm130b.config import ModelConfig
from glm130b.errors import ConfigError, DataError
from glm130b.evaluation import Options, Results, evaluate, read_results, results_text, select
from glm130b.interop import write_folder
from glm130b.model import build_model
from glm130b.tokenization import Tokenizer

TASK = """
tasks:
  - name: "{each}"
    title: "{each}"
    description: numbers
    each: [good, bad]
    family: own
    data: {reader: plain_choice, files: ["{each}.jsonl"], split: all, language: en, licence: CC0, source: here}
    mode: choice
    mask: "[MASK]"
    prompts: [{id: plain, jinja: "{{ text }} ||| {{ choices[label] }}"}]
    metrics: [accuracy]
    provenance: ours
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer) -> Path:
    size = -(-tokenizer.vocab_size // 64) * 64
    config = ModelConfig(
        num_layers=1, hidden_size=32, num_heads=2, ffn_size=32, vocab_size=size, max_sequence_length=64
    )
    folder = tmp_path_factory.mktemp("model") / "m"
    write_folder(folder, build_model(config, seed=3).state_dict(), config, tokenizer)
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    lines = [json.dumps({"text": f"{n} is [MASK].", "choices": ["odd", "even"], "label": n % 2}) for n in range(12)]
    (tmp_path / "good.jsonl").write_text("\n".join(lines))
    (tmp_path / "bad.jsonl").write_text("\n".join([*lines, '{"text": "7 is"}']))
    (tmp_path / "own.yaml").write_text(TASK)
    return tmp_path


def measured(data: Path, model: Path, *names: str, **options: int) -> tuple[Results, list[str]]:
    told: list[str] = []
    tasks = [task for task in select([str(data / "own.yaml"), "quick/opposites_en"]) if task.name in names]
    out = data / "out"
    return evaluate(tasks, model, out, data=data, options=Options(**options), tell=told.append), told


def test_a_task_at_fault_does_not_take_the_others_along(data: Path, model: Path) -> None:
    results, _ = measured(data, model, "bad", "good", "quick/opposites_en")
    assert [task.name for task in results.tasks] == ["good", "quick/opposites_en"]
    assert list(results.failed) == ["bad"]
    assert "bad.jsonl, line 13: 'choices' is missing. Expected is JSON lines" in results.failed["bad"]
    assert results.complete
    assert read_results(data / "out") == results
    assert "bad failed: " in results_text(results)
    with pytest.raises(DataError, match=r"bad\.jsonl, line 13"):
        measured(data, model, "bad")


def test_tasks_gather_in_a_folder_and_answers_are_asked_once(data: Path, model: Path) -> None:
    first, _ = measured(data, model, "good")
    answers = (data / "out" / "answers.jsonl").read_bytes()
    again, told = measured(data, model, "good")
    assert (data / "out" / "answers.jsonl").read_bytes() == answers
    assert (again.tasks, told) == (first.tasks, [])
    both, _ = measured(data, model, "quick/opposites_en")
    assert [task.name for task in both.tasks] == ["good", "quick/opposites_en"]
    assert both.seconds > again.seconds > first.seconds
    limited, told = measured(data, model, "good", limit=5)
    assert [task.name for task in limited.tasks] == ["good"]
    assert "were of another --limit" in told[0]


def test_results_of_another_precision_are_left_alone(data: Path, model: Path) -> None:
    first, _ = measured(data, model, "good")
    task = select([str(data / "own.yaml")])[0]
    with pytest.raises(DataError, match=r"out holds results of another model, or of another precision\. Name another"):
        evaluate([task], model, data / "out", data=data, bits=8)
    assert read_results(data / "out") == first
    eight = evaluate([task], model, data / "eight", data=data, bits=8)
    assert (eight.model.bits, first.model.bits) == (8, None)
    assert eight.model.weights == first.model.weights


def test_what_cannot_be_is_told_before_the_model_is_read(data: Path, tmp_path: Path) -> None:
    tasks = select([str(data / "own.yaml"), "quick/opposites_en"])
    nowhere = tmp_path / "no-model"
    with pytest.raises(ConfigError, match=r"No task has a prompt plane"):
        evaluate(tasks, nowhere, data / "out", data=data, options=Options(prompts=("plain", "plane")))
    with pytest.raises(DataError, match=r"own\.yaml is a file"):
        evaluate(tasks, nowhere, data / "own.yaml", data=data)
    (data / "good.jsonl").unlink()
    with pytest.raises(DataError, match=r"good: there is no .*good\.jsonl.*Leave such tasks out with --skip-missing"):
        evaluate(tasks, nowhere, data / "out", data=data)
    assert not (data / "out").exists()
