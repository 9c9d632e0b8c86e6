"""A small question set with templates, and the evaluation data where they lie beside the project."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from glm130b.config import MipConfig
from glm130b.tokenization import Tokenizer

TEMPLATES = """\
dataset: colours
templates:
  11111111-aaaa: !Template
    answer_choices: '{{ choices | join("|||") }}'
    id: 11111111-aaaa
    jinja: '{{ question }}

      Choose from {{ answer_choices | join(" or ") }}.

      |||

      {{ answer_choices[label] }}'
    metadata: !TemplateMetadata
      choices_in_prompt: true
      languages:
      - en
      metrics:
      - Accuracy
      original_task: true
    name: choose
    reference: ''
  22222222-bbbb: !Template
    answer_choices: null
    id: 22222222-bbbb
    jinja: 'Why? {{ question }} ||| {% if why %}{{ why }}{% endif %}'
    metadata: !TemplateMetadata
      choices_in_prompt: false
      languages:
      - en
      metrics: []
      original_task: false
    name: explain
    reference: ''
"""


def question(number: int) -> dict[str, object]:
    """Every third one has no explanation."""
    return {
        "question": f"What colour is thing {number}?",
        "choices": ["red", "blue"],
        "label": number % 2,
        "why": "" if number % 3 == 0 else f"Thing {number} was painted.",
    }


@pytest.fixture(autouse=True, scope="module")
def _one_tokenizer() -> Iterator[None]:
    """Load each tokenizer once: a load takes longer than a build of twenty records."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Tokenizer, "load", cache(Tokenizer.load))
        yield


@pytest.fixture
def colours(tmp_path: Path) -> Path:
    """A folder with ``templates/colours/templates.yaml`` and ``colours.jsonl`` of 20 questions."""
    (tmp_path / "templates" / "colours").mkdir(parents=True)
    (tmp_path / "templates" / "colours" / "templates.yaml").write_text(TEMPLATES)
    (tmp_path / "colours.jsonl").write_text("".join(json.dumps(question(n)) + "\n" for n in range(20)))
    return tmp_path


@pytest.fixture
def recipe(colours: Path) -> Callable[..., MipConfig]:
    """The recipe of ``colours``; keyword arguments change it."""

    def make(**changes: object) -> MipConfig:
        datasets = {"colours": {"path": str(colours / "colours.jsonl"), "templates": "colours"}}
        return MipConfig.model_validate({"templates": str(colours / "templates"), "datasets": datasets, **changes})

    return make
