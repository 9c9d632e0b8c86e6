from __future__ import annotations

from pathlib import Path

import pytest

from glm130b.errors import ConfigError
from glm130b.evaluation.metrics import METRICS
from glm130b.evaluation.readers import READERS
from glm130b.evaluation.registry import known_suites, known_tasks, read_tasks, select

ONE = """
name: set/{each}
title: A set
description: of sentences
each: [a, b]
each_expects: {a: 3}
each_published: {b: [{system: X, metric: accuracy, value: 0.5, source: a paper}]}
family: set
data: {reader: plain_choice, files: ["{each}.jsonl"], split: test, language: en, licence: CC0, source: here}
mode: choice
mask: "[MASK]"
prompts: [{id: p, jinja: "{{ text }} ||| {{ choices[label] }}"}]
metrics: [accuracy]
provenance: ours
"""


def test_every_name_in_the_suites_is_there() -> None:
    for suite in known_suites():
        assert select([suite]), suite
    assert {"quick", "lm", "english", "chinese", "ethics", "long", "paper"} == set(known_suites())
    in_paper = {task.name for task in select(["paper"])}
    assert {task.name for suite in ("lm", "english", "chinese", "ethics") for task in select([suite])} < in_paper


@pytest.mark.parametrize("task", known_tasks().values(), ids=lambda task: task.name)
def test_every_task_names_what_exists(task: object) -> None:
    assert task.data.reader in READERS  # type: ignore[attr-defined]
    assert set(task.metrics) <= METRICS.keys()  # type: ignore[attr-defined]
    shots = task.fewshot.shots  # type: ignore[attr-defined]
    assert max(shots) == 0 or task.data.fewshot  # type: ignore[attr-defined]


def test_one_entry_may_stand_for_several(tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text(ONE)
    a, b = read_tasks(file)
    assert (a.name, a.data.files, a.data.expects, a.published) == ("set/a", ("a.jsonl",), 3, ())
    assert (b.name, b.data.expects, b.published[0].value) == ("set/b", None, 0.5)
    assert [task.name for task in select([str(file), "quick/agreement_en", str(file)])] == [
        "set/a",
        "set/b",
        "quick/agreement_en",
    ]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("mode: choice", "mode: guess", r"task set/a: mode: Input should be 'choice', 'generate'"),
        ("metrics: [accuracy]", "metrics: []", r"metrics: Tuple should have at least 1 item"),
        ("provenance: ours", "provenance: ours\nanswer: 42", r"answer: Extra inputs are not permitted"),
        ("prompts: [{id", "prompts: [{id: p, jinja: x}, {id", r"two prompts have the same id"),
        ('mask: "[MASK]"', 'mask: "[MASK]"\nattention: [unidirectional]', r"needs mask: \[gMASK\]"),
        ("metrics: [accuracy]", "metrics: [acuracy]", r"task set/a: there is no metric 'acuracy'\. There are accuracy"),
        ("plain_choice", "plain_choise", r"task set/a: there is no reader 'plain_choise'\. There are plain_choice"),
        ('"{each}.jsonl"', '"/{each}.jsonl"', r"data\.files\.0: String should match"),
        ('"{each}.jsonl"', '""', r"data\.files\.0: String should match"),
        ("each: [a, b]", "each: 5", r"`each` is no list"),
        ("each_expects: {a: 3}", "each_expects: 3", r"`each` is no list, or what goes with it no mapping"),
        ("family: set", "family: [set", r"line \d+: this is not YAML"),
    ],
)
def test_a_bad_file_is_named_with_the_key(tmp_path: Path, old: str, new: str, told: str) -> None:
    file = tmp_path / "own.yaml"
    file.write_text(ONE.replace(old, new))
    with pytest.raises(ConfigError, match=rf"own\.yaml.*{told}"):
        read_tasks(file)


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"no task or suite 'quik'\. Did you mean quick\?"):
        select(["quik"])
