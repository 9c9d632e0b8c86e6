"""BIG-bench's JSON tasks, laid out as its own code lays them out, and BIG-Bench Hard's plainer files."""

from __future__ import annotations

import json
import random
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from glm130b.errors import DataError
from glm130b.evaluation.items import Item
from glm130b.evaluation.readers.reader import field_of, malformed, reader
from glm130b.lines import read_json_file

TEXT_SCORES = ("exact_str_match", "rouge1", "rouge2", "rougeLsum")
"""Scores of free answers that ``metrics.bigbench`` computes."""

_EXPECTED = "a BIG-bench task.json: examples with input and target (a text or a list) or target_scores (by option)"
_HARD = "a JSON object with examples of input and target; the input ends in lines of options, (A) … or - …"
_SENTENCE = r"[^\.\?\!\;\n]+"
_OPTION = re.compile(r"^(\([A-Z]\)|- .*\S) *(.*)$", re.MULTILINE)

Answers = Literal["options", "text"]


@dataclass(frozen=True)
class _Layout:
    """How a task's file says that its examples are written; what it does not say has BIG-bench's defaults."""

    task_prefix: str = ""
    example_input_prefix: str = "\nQ: "
    example_output_prefix: str = "\nA: "
    choice_prefix: str = "\n  choice: "
    few_shot_example_separator: str = "\n"
    append_choices_to_input: bool = True
    output_regex: str | None = None
    stop_string: str | None = None

    def question(self, text: str, options: Sequence[str]) -> str:
        """An example up to its answer, ``options`` in the order in which they are shown."""
        shown = "".join(self.choice_prefix + option for option in options) if self.append_choices_to_input else ""
        return self.example_input_prefix + text + shown + self.example_output_prefix


@reader("bigbench")
def read_bigbench(files: Sequence[Path], *, answers: Answers, score: str = "") -> Iterator[Item]:
    """Examples, each once; with several files each is a group, a subtask in BIG-bench's terms.

    Field ``question`` is the example as it is shown up to its answer, ``fewshot_layout`` what stands before it,
    both to the letter; the canary is in neither. Options are shown in an order drawn for each example. ``low`` and
    ``high`` are what choosing evenly and always choosing best would score, or 0 and 1 for free answers.

    Args:
        answers: whether the task asks for one of the options or for free text.
        score: instead of the file's ``preferred_score``.
    """
    found = 0
    for file in files:
        tree = read_json_file(file)
        if not isinstance(tree, dict):
            raise malformed(file, "top", f"this is a {type(tree).__name__}", _EXPECTED)
        examples = field_of(tree, "examples", list, file, "top", _EXPECTED) if "examples" in tree else []
        if not examples:  # the file of a task that has subtasks
            continue
        found += 1
        layout = _layout_of(file, tree)
        chosen = score or field_of(tree, "preferred_score", str, file, "top", _EXPECTED)
        _check_score(file, chosen, answers, tree)
        group = file.parent.name if len(files) > 1 else ""
        seen: set[str] = set()
        for number, example in enumerate(examples):
            place = f"examples[{number}]"
            text = field_of(example, "input", str, file, place, _EXPECTED)
            if (written := json.dumps(example, sort_keys=True)) in seen:
                continue
            seen.add(written)
            fields: dict[str, Any] = {"score": chosen}
            labels, options, right = tuple[int, ...](), list[str](), list[str]()
            if answers == "options":
                fields |= _scored_options(file, place, example)
                options, best = fields["choices"], max(fields["target_scores"])
                labels = tuple(n for n, value in enumerate(fields["target_scores"]) if value == best)
                right = _targets(file, place, example) if "target" in example else [options[labels[0]]]
                shown = sorted(options)
                random.Random(f"{group}/{number}").shuffle(shown)
            else:
                shown = sorted(example["target_scores"]) if isinstance(example.get("target_scores"), dict) else []
                right = _targets(file, place, example)
                fields |= {"low": 0.0, "high": 1.0}
                fields |= {"output_regex": layout.output_regex, "stop_string": layout.stop_string}
            question = layout.question(text, shown)
            lead = question[: len(question) - len(question.lstrip())]
            fields |= {
                "question": question.lstrip(),
                "targets": right,
                "fewshot_layout": {
                    "preamble": layout.task_prefix + lead,
                    "separator": layout.few_shot_example_separator + lead,
                },
            }
            references = () if answers == "options" else tuple(right)
            yield Item(f"{file.parent.name}/{file.name}#{number}", fields, labels, references, group)
    if files and not found:
        raise malformed(files[0], "examples", "there are none", _EXPECTED)


@reader("bbh")
def read_bbh(files: Sequence[Path]) -> Iterator[Item]:
    """Inputs that hold their options; the target is an option's letter in brackets, or the option itself."""
    for file in files:
        tree = read_json_file(file)
        for number, example in enumerate(field_of(tree, "examples", list, file, "top", _HARD)):
            place = f"examples[{number}]"
            text = field_of(example, "input", str, file, place, _HARD).strip()
            target = field_of(example, "target", str, file, place, _HARD).strip()
            listed = text.rpartition("Options:\n")[2]
            choices = [match[1].removeprefix("- ").strip() for match in _OPTION.finditer(listed)]
            if len(choices) < 2 or choices.count(target) != 1:
                raise malformed(file, place, f"the target {target!r} is none of {len(choices)} options", _HARD)
            label = choices.index(target)
            fields = {"question": text, "choices": choices, "label": label}
            yield Item(f"{file.name}#{number}", fields, labels=(label,))


def _layout_of(file: Path, tree: Mapping[str, Any]) -> _Layout:
    given = {key: tree[key] for key in _Layout.__dataclass_fields__ if tree.get(key) is not None}
    for key, value in given.items():
        wanted = bool if key == "append_choices_to_input" else str
        field_of(given, key, wanted, file, key, f"a {wanted.__name__}")
        if key == "output_regex":
            try:
                groups = re.compile(value).groups
            except re.error as error:
                raise malformed(file, key, f"this is no regular expression ({error})", _EXPECTED) from None
            if groups > 1:
                raise malformed(file, key, f"it has {groups} groups", "a regular expression with one group at most")
    if not {"output_regex", "stop_string"} & given.keys():
        given["output_regex"] = _SENTENCE
    return _Layout(**given)


def _check_score(file: Path, score: str, answers: Answers, tree: Mapping[str, Any]) -> None:
    known = ("multiple_choice_grade",) if answers == "options" else TEXT_SCORES
    if score not in known:
        others = [name for name in tree.get("metrics", []) if name in known]
        raise DataError(
            f"{file}: the score is {score}, and a task that asks for {answers} has {', '.join(known)}.",
            f"Set options: {{score: {others[0]}}} in the task." if others else "Set mode and answers of the task.",
        )


def _scored_options(file: Path, place: str, example: Mapping[str, Any]) -> dict[str, Any]:
    scores = field_of(example, "target_scores", dict, file, place, _EXPECTED)
    values = [field_of(scores, option, (int, float), file, place, _EXPECTED) for option in scores]
    if len(scores) < 2 or not all(option.strip() for option in scores):
        raise malformed(file, place, f"there are {len(scores)} options, or one is empty", _EXPECTED)
    if not all(abs(value) <= sys.float_info.max for value in values):
        raise malformed(file, place, "a score of target_scores is not finite", _EXPECTED)
    return {
        "choices": list(scores),
        "target_scores": [float(value) for value in values],
        "low": sum(values) / len(values),
        "high": float(max(values)),
    }


def _targets(file: Path, place: str, example: Mapping[str, Any]) -> list[str]:
    target = field_of(example, "target", (str, list), file, place, _EXPECTED)
    targets = [target] if isinstance(target, str) else target
    if not targets or not all(isinstance(one, str) for one in targets):
        raise malformed(file, place, "target holds no text, or something else", _EXPECTED)
    return list(targets)
