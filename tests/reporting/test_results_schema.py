"""The published schema is that of the program, and results follow it."""

from __future__ import annotations

import json
from pathlib import Path

from made_results import task_of, write

from glm130b.evaluation import read_results, results_schema

PUBLISHED = Path(__file__).parents[2] / "docs" / "results.schema.json"


def test_the_published_schema_is_current() -> None:
    text = json.dumps(results_schema(), indent=2) + "\n"
    assert PUBLISHED.read_text(encoding="utf-8") == text, "write evaluation.results_schema() there anew"


def test_results_keep_every_digit_and_follow_the_schema(tmp_path: Path) -> None:
    written = write(tmp_path, [task_of("one", (0.3, 0.7), groups=("a", "b"))])
    assert read_results(tmp_path) == written
    tree = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    schema = results_schema()
    assert set(schema["required"]) <= tree.keys() <= set(schema["properties"])
    assert tree["schema"] == "glm-eval/v1"
    value = written.tasks[0].headlines[0].score.value
    assert tree["tasks"][0]["headlines"][0]["score"]["value"] == value
