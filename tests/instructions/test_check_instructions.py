"""What ``glm mip check`` finds, and what ``glm mip show`` prints."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from glm130b.config import MipConfig
from glm130b.errors import ConfigError, DataError
from glm130b.instructions import InstructionStore, build, check_recipe, show_recipe, show_store

Recipe = Callable[..., MipConfig]


def found(config: MipConfig) -> list[tuple[str, str, str]]:
    return [(finding.level, finding.prompt, finding.message) for finding in check_recipe(config)]


def rewrite(folder: Path, old: str, new: str) -> None:
    path = folder / "templates" / "colours" / "templates.yaml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def test_nothing_is_wrong(recipe: Recipe) -> None:
    assert found(recipe()) == []
    assert found(recipe(datasets={})) == []


@pytest.mark.parametrize(
    ("old", "new", "level", "prompt", "message"),
    [
        (
            "{{ question }}\n",
            "{{ question | nosuch }}\n",
            "error",
            "choose",
            "not valid Jinja: No filter named 'nosuch'",
        ),
        ("{{ why }}", "{{ reason }}", "error", "explain", "no record looked at has reason; records have choices, "),
        ("{{ why }}", '{{ reason | default("x") }}', "warning", "explain", "no record looked at has reason"),
        ("{{ why }}", '{{ why.split("1")[1] }}', "warning", "explain", "of 20 records fail (record"),
        ("{{ why }}", "{{ why.below }}", "error", "explain", "no attribute 'below'"),
        ("{% if why %}", "{% if false %}", "warning", "explain", "applies to none of 20 records"),
        ("{{ why }}", "{{ question }}", "warning", "explain", "the input holds the target"),
        ("{{ answer_choices[label] }}", "{{ label }}", "warning", "choose", "none of answer_choices in 20 of 20"),
        ("Why? {{ question }}", "Why? {{ label }}", "warning", "explain", ""),
        (
            "Why? {{ question }}",
            "{% for i in range(999) %}Why? {% endfor %}",
            "warning",
            "explain",
            "more than 510 tokens",
        ),
        ("name: explain", "name: choose", "warning", "choose", "2 prompts have this name"),
        ("- en\n      metrics: []", "- en\n      - zh\n      metrics: [", "error", "", "is not a file of templates"),
    ],
)
def test_findings(recipe: Recipe, colours: Path, old: str, new: str, level: str, prompt: str, message: str) -> None:
    rewrite(colours, old, new)
    findings = found(recipe())
    if message:
        assert any(one[:2] == (level, prompt) and message in one[2] for one in findings), findings
    else:
        assert findings == []


def test_a_prompt_without_records_is_no_error(recipe: Recipe) -> None:
    assert found(recipe(cap=1)) == [("warning", "explain", "the cap leaves it no record")]


def test_repeated_examples(recipe: Recipe, colours: Path) -> None:
    line = json.dumps({"question": "q", "choices": ["a", "b"], "label": 0, "why": "w"}) + "\n"
    (colours / "colours.jsonl").write_text(line * 3)
    assert [message for _, _, message in found(recipe())] == [
        "the same input and target as another record's in 3 of 3 (record " + rest
        for rest in [message.split("record ")[-1] for _, _, message in found(recipe())]
    ]


def test_templates_without_data(recipe: Recipe, colours: Path) -> None:
    rewrite(colours, "Why? {{ question }}", "{% if %}")
    (colours / "templates" / "other").mkdir()
    (colours / "templates" / "other" / "templates.yaml").write_text("templates: 1")
    findings = list(check_recipe(recipe(datasets={})))
    assert [(one.level, one.dataset, one.prompt) for one in findings] == [
        ("error", "colours", "explain"),
        ("error", "other", ""),
    ]


def test_faults_of_one_dataset_leave_the_others(recipe: Recipe, colours: Path) -> None:
    good = {"path": str(colours / "colours.jsonl"), "templates": "colours"}
    datasets = {"bad": {**good, "path": "absent"}, "good": good, "lambada": {**good, "path": "absent"}}
    findings = list(check_recipe(recipe(datasets=datasets)))
    assert [(one.level, one.dataset) for one in findings] == [("error", ""), ("error", "bad"), ("error", "lambada")]


def test_nothing_to_check(colours: Path) -> None:
    with pytest.raises(ConfigError, match="names neither datasets nor templates"):
        list(check_recipe(MipConfig()))
    (colours / "empty").mkdir()
    with pytest.raises(DataError, match=r"holds no templates.yaml"):
        list(check_recipe(MipConfig(templates=str(colours / "empty"))))


def test_show(recipe: Recipe, tmp_path: Path) -> None:
    config = recipe()
    build(config, tmp_path / "out")
    store = InstructionStore(tmp_path / "out")
    page, other = show_store(store, "colours", "explain", 2, 2)
    assert page.startswith("example 22: colours, explain\n  input, ")
    assert "    Why? What colour is thing " in page
    assert other.startswith("example 23: ")
    shown = list(show_recipe(config, None, None, 0, 20))
    assert sum(": not applicable" in page for page in shown) == 7
    assert [page.split("\n", 1)[1] for page in shown if "explain" in page and "\n" in page] == [
        page.split("\n", 1)[1] for page in show_store(store, "colours", "explain", 0, 99)
    ]
    for wrong in (
        lambda: show_store(store, "x", None, 0, 1),
        lambda: show_store(store, None, None, 33, 1),
        lambda: show_store(store, None, "x", 0, 1),
        lambda: show_recipe(config, "x", None, 0, 1),
        lambda: show_recipe(config, None, "x", 0, 1),
    ):
        with pytest.raises(DataError):
            list(wrong())
