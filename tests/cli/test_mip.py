"""``glm mip`` on a tiny set of questions, as a newcomer would use it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

Glm = Callable[..., object]
Refused = Callable[..., str]

TEMPLATE = """\
templates:
  k: !Template
    name: ask
    jinja: 'Which is it, {{ q }}? ||| {% if n %}number {{ n }}{% endif %}'
    metadata: !TemplateMetadata {languages: [en], choices_in_prompt: false, original_task: true, metrics: []}
"""


@pytest.fixture
def mip(tmp_path: Path) -> Path:
    """A recipe of two datasets, one of them structured."""
    (tmp_path / "templates" / "set").mkdir(parents=True)
    (tmp_path / "templates" / "set" / "templates.yaml").write_text(TEMPLATE)
    (tmp_path / "q.jsonl").write_text("".join(json.dumps({"q": f"q{n}", "n": n}) + "\n" for n in range(6)))
    named = {"text": "Ann left.", "entities": [{"start": 0, "end": 3, "type": "person"}]}
    (tmp_path / "names.jsonl").write_text(json.dumps(named) + "\n")
    recipe = tmp_path / "mip.yaml"
    recipe.write_text(
        f"templates: {tmp_path}/templates\n"
        "datasets:\n"
        f"  questions: {{path: {tmp_path}/q.jsonl, templates: set, license: CC0}}\n"
        f"  names: {{path: {tmp_path}/names.jsonl, task: ner}}\n"
    )
    return recipe


def test_build_stats_show_check(glm: Glm, mip: Path, tmp_path: Path) -> None:
    out = tmp_path / "store"
    built = glm("mip", "build", mip, "--out", out, "--workers", "1")
    assert built.code == 0, built
    assert f"Wrote 8 examples to {out}, fingerprint " in built.out
    stats = glm("mip", "stats", out)
    assert stats.code == 0, stats
    row = next(line for line in stats.out.splitlines() if line.startswith("  ask"))
    assert row.split()[1:7] == ["6", "5", "1", "0", "0", "5"]
    assert "questions: en, licence CC0; seen by evaluation: questions, set" in stats.out
    assert "  without zh_list_entities: is in zh" in stats.out
    again = glm("mip", "stats", mip, "--workers", "1")
    assert again.out == stats.out
    shown = glm("mip", "show", out, "--dataset", "names", "-n", "1", "--at", "1")
    assert shown.code == 0, shown
    assert shown.out.startswith("example 6: names, find_and_label\n  input, ")
    assert shown.out.endswith("tokens:\n    ( Ann ; instance of ; person )\n")
    straight = glm("mip", "show", mip, "--prompt", "ask", "-n", "6")
    assert straight.out.count("questions, ask, record") == 6
    assert "record 0: not applicable" in straight.out
    checked = glm("mip", "check", out)
    assert (checked.code, checked.out) == (0, f"{out} is as it was written.\n")


def test_check(glm: Glm, mip: Path, tmp_path: Path) -> None:
    clean = glm("mip", "check", mip)
    assert (clean.code, clean.out.splitlines()[-1]) == (0, "0 errors, 0 warnings")
    warned = glm("mip", "check", mip, "--set", "datasets.questions.exclude=[]", "--set", f"datasets.b.path={mip}")
    assert warned.code == 3
    path = tmp_path / "templates" / "set" / "templates.yaml"
    path.write_text(TEMPLATE.replace("{{ q }}", "number {{ n }}"))
    warned = glm("mip", "check", mip)
    assert warned.code == 0
    assert warned.out.splitlines()[0].startswith("warning: questions, ask: the input holds the target")
    path.write_text(TEMPLATE.replace("{{ q }}", "{{ absent }}"))
    wrong = glm("mip", "check", mip)
    assert wrong.code == 4
    assert wrong.out.startswith("error: questions, ask: no record looked at has absent; records have n, q\n")
    assert wrong.err.startswith(f"Error: {mip} has 1 error.")
    templates = glm("mip", "check", tmp_path / "templates")
    assert (templates.code, templates.out) == (0, "0 errors, 0 warnings\n")


def test_refusals(refused: Refused, glm: Glm, mip: Path, tmp_path: Path) -> None:
    out = tmp_path / "store"
    assert "exists already" in refused(4, "mip", "build", mip, "--out", tmp_path)
    assert "unknown key cpa" in refused(3, "mip", "build", mip, "--out", out, "--set", "cpa=3")
    assert "There is no file or folder absent" in refused(
        4, "mip", "build", mip, "--out", out, "--workers", "1", "--set", "datasets.names.path=absent"
    )
    assert "Dataset lambada belongs to lambada" in refused(
        3, "mip", "build", mip, "--out", out, "--set", f"datasets.lambada={{path: {mip}, templates: set}}"
    )
    assert "mip.json is missing" in refused(4, "mip", "stats", tmp_path)
    assert "has no dataset x" in refused(4, "mip", "show", mip, "--dataset", "x")
    assert not out.exists()
    assert glm("mip", "build", mip).code == 2
