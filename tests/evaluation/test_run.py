"""From files to results, with a model that is a function."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from glm130b.errors import ConfigError, DataError
from glm130b.evaluation import Options, Runner, Step, Task, compare_results, load_items, read_results, select
from glm130b.evaluation.compare import Row
from glm130b.evaluation.encode import Encoder
from glm130b.evaluation.items import Answer, Choose, Request
from glm130b.evaluation.plan import plan_of
from glm130b.evaluation.records import read_task_records, read_units
from glm130b.evaluation.results import ModelFacts, Results, TaskResult, write_results
from glm130b.evaluation.seen import Seen
from glm130b.evaluation.table import published_text, results_text
from glm130b.inference import Conventions
from glm130b.tokenization import Tokenizer

Reply = Callable[[Request], Answer]


def knows(tokenizer: Tokenizer, share: int) -> Reply:
    """Prefers the right option of questions whose number is below a share of ten."""

    def reply(request: Request) -> Answer:
        assert isinstance(request, Choose)
        text = tokenizer.decode(list(request.text))
        number, right = int(text.split("#")[1].split()[0]), int(text.split("=")[1].split()[0])
        choice = right if number % 10 < share else 1 - right
        return Answer(log_probs=tuple(-1.0 - (n != choice) for n in range(len(request.options))))

    return reply


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    lines = [
        {"text": f"#{n} ={n % 2} is", "choices": ["no", "yes"], "label": n % 2, "group": "ab"[n // 20]}
        for n in range(40)
    ]
    (folder / "own.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "shots.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines[:6]))
    (folder / "own.yaml").write_text(
        """
name: own
title: Own
description: numbers
family: own
data:
  {reader: plain_choice, files: [own.jsonl], fewshot: [shots.jsonl], split: all, language: en, licence: CC0,
   source: here, expects: 50}
mode: choice
mask: "[MASK]"
prompts:
  - {id: short, jinja: "{{ text }} [MASK]. ||| {{ choices[label] }}"}
  - {id: long, jinja: "Consider: {{ text }} [MASK]. ||| {{ choices[label] }}"}
fewshot: {shots: [0]}
metrics: [accuracy]
provenance: ours
published: [{system: GLM-130B, metric: accuracy, value: 0.5, source: nowhere}]
"""
    )
    return folder


@pytest.fixture
def own(data: Path) -> Task:
    (task,) = select([str(data / "own.yaml")])
    return task


def run(task: Task, reply: Reply, data: Path, out: Path, tokenizer: Tokenizer, **options: Any) -> TaskResult:
    def ask(requests: Sequence[Request], tell: Callable[[int], None]) -> list[Answer]:
        tell(len(requests))
        return [reply(request) for request in requests]

    encoder = Encoder(tokenizer, Conventions(end=frozenset()), 256)
    return Runner(ask, encoder, data, out, Seen({"own": ("mine",)}), Options(**options)).run(task)


def test_what_a_run_leaves_behind(own: Task, data: Path, tmp_path: Path, tokenizer: Tokenizer) -> None:
    result = run(own, knows(tokenizer, 7), data, tmp_path / "out", tokenizer)
    assert (result.items, result.available, result.expects, result.seen, result.seen_by) == (
        40,
        40,
        50,
        "dataset",
        ("mine",),
    )
    assert [file.path for file in result.files] == ["own.jsonl"]
    assert [(one.prompt, one.scores[0].value) for one in result.measurements] == [("short", 0.7), ("long", 0.7)]
    samples = list(read_task_records(tmp_path / "out", "samples", "own"))
    assert len(samples) == 80
    assert samples[3] | {"question": ""} == {
        "measurement": "short/0/bidirectional",
        "id": "own.jsonl#4",
        "question": "",
        "group": "a",
        "labels": [1],
        "choice": 1,
        "scores": [-2.0, -1.0],
        "log_probs": [-2.0, -1.0],
        "tokens": samples[3]["tokens"],
        "cut": 0,
    }
    prompts = list(read_task_records(tmp_path / "out", "prompts", "own"))
    assert (prompts[3]["text"], prompts[3]["question"]) == ("#3 =1 is [MASK].", samples[3]["question"])
    units = read_units(tmp_path / "out", "own")
    assert set(units) == {(f"{name}/0/bidirectional", "accuracy") for name in ("short", "long")}
    assert sum(unit.parts[0] for unit in units["short/0/bidirectional", "accuracy"]) == 28


def test_a_limit_is_drawn_evenly_by_the_seed(own: Task, data: Path) -> None:
    ids = [[item.id for item in load_items(own, data, limit=10, seed=seed).items] for seed in (0, 0, 1)]
    assert ids[0] == ids[1] != ids[2]
    assert ids[0] == sorted(ids[0], key=lambda name: int(name.split("#")[1]))
    assert load_items(own, data, limit=99).available == len(load_items(own, data, limit=99).items) == 40


def test_examples_wordings_and_steps(own: Task, data: Path, tmp_path: Path, tokenizer: Tokenizer) -> None:
    steps: list[Step] = []

    def ask(requests: Sequence[Request], tell: Callable[[int], None]) -> list[Answer]:
        tell(1)
        return [Answer(log_probs=(0.0, -1.0)) for _ in requests]

    encoder = Encoder(tokenizer, Conventions(end=frozenset()), 256)
    options = Options(shots=(0, 2), prompts=("long",))
    result = Runner(ask, encoder, data, tmp_path, Seen({}), options, steps.append).run(own)
    assert [one.key for one in result.measurements] == ["long/0/bidirectional", "long/2/bidirectional"]
    texts = [line["text"] for line in read_task_records(tmp_path, "prompts", "own")]
    assert [text.count("Consider") for text in (texts[0], texts[40])] == [1, 3]
    assert [(step.done, step.total) for step in steps] == [(1, 80), (40, 80), (41, 80), (80, 80)]
    assert [file.path for file in result.files] == ["own.jsonl", "shots.jsonl"]


def test_what_a_task_cannot_do_is_told(own: Task, data: Path) -> None:
    with pytest.raises(ConfigError, match=r"own has no prompt other\. See"):
        list(plan_of(own, Options(prompts=("other",))))
    with pytest.raises(ConfigError, match=r"has no unidirectional form"):
        list(plan_of(own, Options(attention=("unidirectional",))))
    with pytest.raises(
        DataError, match=r"own: its data are not part of this program: own\.jsonl\. Fetch the data from here"
    ):
        load_items(own, None)
    with pytest.raises(DataError, match=r"own: there is no .*elsewhere/own\.jsonl"):
        load_items(own, data / "elsewhere")
    (data / "own.jsonl").write_text('{"text": "x", "choices": ["a", "b"], "label": 2}\n')
    with pytest.raises(
        DataError, match=r"own\.jsonl, line 1: label 2 is none of 2 choices\. Expected is JSON lines with"
    ):
        load_items(own, data)
    (data / "own.jsonl").write_text("")
    with pytest.raises(DataError, match=r"own\.jsonl holds no item"):
        load_items(own, data)


def results(task: TaskResult, folder: Path) -> Results:
    facts = ModelFacts(
        path="m",
        weights="0",
        tokenizer="1",
        parameters=1,
        config={},
        precision="float32",
        bits=None,
        group_size=None,
        conventions="ours",
        run=None,
        device="cpu",
    )
    found = Results(
        suites=("own",),
        model=facts,
        code={"hash": "0", "commit": None},
        software={},
        hardware={},
        started="",
        finished="",
        seconds=1.0,
        seed=0,
        limit=None,
        shots=None,
        prompts="all",
        tasks=(task,),
    )
    write_results(found, folder)
    return found


def compared(own: Task, data: Path, tmp_path: Path, tokenizer: Tokenizer, shares: tuple[int, int]) -> list[Row]:
    for name, share in zip("ab", shares, strict=True):
        results(run(own, knows(tokenizer, share), data, tmp_path / name, tokenizer), tmp_path / name)
    return compare_results(tmp_path / "a", tmp_path / "b")


def test_two_results_are_compared_item_by_item(own: Task, data: Path, tmp_path: Path, tokenizer: Tokenizer) -> None:
    (row,) = compared(own, data, tmp_path, tokenizer, (9, 5))
    assert (row.name, row.comparison.first_better, row.comparison.second_better) == ("own", 16, 0)
    assert row.comparison.p_value == pytest.approx(2 / 2**16)
    assert row.verdict.startswith("A is better by 40.0 points")
    (row,) = compared(own, data, tmp_path, tokenizer, (5, 5))
    assert (row.tied, row.verdict) == (True, "A and B are alike on every item.")


def test_other_data_wordings_or_a_half_written_folder_are_not_compared(
    own: Task, data: Path, tmp_path: Path, tokenizer: Tokenizer
) -> None:
    compared(own, data, tmp_path, tokenizer, (9, 5))
    folders = tmp_path / "a", tmp_path / "b"
    reworded = own.prompts[0].model_copy(update={"jinja": "So: {{ text }} [MASK]. ||| {{ choices[label] }}"})
    other = own.model_copy(update={"prompts": (reworded, *own.prompts[1:])})
    results(run(other, knows(tokenizer, 5), data, folders[1], tokenizer), folders[1])
    with pytest.raises(DataError, match=r"own: short/0/bidirectional is not the same wording in both results\."):
        compare_results(*folders)
    (data / "own.jsonl").write_text((data / "own.jsonl").read_text().replace("is", "was"))
    results(run(own, knows(tokenizer, 5), data, folders[1], tokenizer), folders[1])
    with pytest.raises(DataError, match=r"own: own\.jsonl is not the same file in both results\."):
        compare_results(*folders)
    results(run(own, knows(tokenizer, 5), data, folders[0], tokenizer), folders[0])
    assert compare_results(*folders)[0].tied
    run(own, knows(tokenizer, 5), data, folders[1], tokenizer, limit=5)  # stopped before its results are written
    with pytest.raises(DataError, match=r"own: the units in .*b are not those of its results\."):
        compare_results(*folders)
    for damage in ("[1]", "{}", '{"id": "x"', "\ud800"):
        (folders[1] / "units" / "own.jsonl").write_bytes(damage.encode(errors="surrogatepass"))
        with pytest.raises(DataError, match=r"own\.jsonl.* is damaged"):
            compare_results(*folders)


def test_a_number_of_examples_asked_for_twice_is_measured_once(
    own: Task, data: Path, tmp_path: Path, tokenizer: Tokenizer
) -> None:
    result = run(own, knows(tokenizer, 5), data, tmp_path, tokenizer, shots=(1, 1), prompts=("long",))
    assert [one.key for one in result.measurements] == ["long/1/bidirectional"]


def test_a_metric_or_reader_that_does_not_fit_is_named(
    own: Task, data: Path, tmp_path: Path, tokenizer: Tokenizer
) -> None:
    for metric in ("f1", "word_perplexity", "question_f1"):
        with pytest.raises(ConfigError, match=rf"own: the metric {metric} cannot be had of mode choice"):
            run(own.model_copy(update={"metrics": (metric,)}), knows(tokenizer, 5), data, tmp_path, tokenizer)
    odd = own.data.model_copy(update={"options": {"sheet": 2}})
    with pytest.raises(ConfigError, match=r"own: the reader plain_choice takes no such options: .*'sheet'"):
        load_items(own.model_copy(update={"data": odd}), data)
    texts = own.model_copy(update={"mode": "generate"})
    with pytest.raises(ConfigError, match=r"own: no item has a right answer as text"):
        run(texts, lambda request: Answer(text="x"), data, tmp_path, tokenizer)


def test_results_survive_the_file_and_are_told_in_a_table(
    own: Task, data: Path, tmp_path: Path, tokenizer: Tokenizer
) -> None:
    found = results(run(own, knows(tokenizer, 7), data, tmp_path / "a", tokenizer), tmp_path / "a")
    assert read_results(tmp_path / "a") == found
    header, row, _, note = results_text(found).splitlines()
    assert header.split()[:3] == ["task", "metric", "shots"]
    assert " ".join(row.split()) == "own accuracy 0 40 70.0 53.5 to 83.4 median of 2: 70.0 to 70.0 50.0 50.0 50.0 SEEN"
    assert note == "Not the complete set: own (40 of 50 items)."
    (tmp_path / "a" / "results.json").write_text('{"schema": "glm-eval/v0"}')
    with pytest.raises(DataError, match=r"results\.json is not a file of results: schema: "):
        read_results(tmp_path / "a")
    with pytest.raises(DataError, match=r"There is no .*nowhere"):
        read_results(tmp_path / "nowhere")


def test_a_published_score_of_longer_windows_is_in_parentheses(
    own: Task, data: Path, tmp_path: Path, tokenizer: Tokenizer
) -> None:
    task = run(own, knows(tokenizer, 7), data, tmp_path, tokenizer, prompts=("long",))
    (headline,) = task.headlines
    assert published_text(task, headline) == "50.0"
    windows = task.model_copy(update={"mode": "lm", "adapted": ("windows of 256 tokens, not 2048",)})
    assert published_text(windows, headline) == "(50.0)"
