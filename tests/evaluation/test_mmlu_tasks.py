"""MMLU: what is read, the paper's layout, and accuracy by field of study."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import pytest
from real_data import REAL, needs_real

from glm130b.errors import DataError
from glm130b.evaluation.data_files import load_items
from glm130b.evaluation.items import Chosen, Item, Question
from glm130b.evaluation.metrics import METRICS
from glm130b.evaluation.questions import Questioner
from glm130b.evaluation.readers import READERS
from glm130b.evaluation.readers.mmlu import mmlu_categories
from glm130b.evaluation.registry import known_tasks
from glm130b.evaluation.statistics import value_of

FIXTURES = Path(__file__).parents[1] / "fixtures" / "evaluation"
TASK = known_tasks()["mmlu"]

QUERY = """The following are multiple choice questions about anatomy.

Which bone is number 1?
(A) bone 1 (B) bone, 2 (C) bone 3 (D) None
Answer: (A) bone 1

Which bone is number 2?
(A) bone 2 (B) bone, 3 (C) bone 4 (D) None
Answer: (B) bone, 3

A nurse notes:
"Pulse, 61; calm"
What was counted?
(A) Steps (B) Beats (C) Breaths (D) Blinks
Answer: ([MASK]"""


@needs_real
def test_every_real_question_is_read() -> None:
    files = sorted((REAL / "mmlu" / "data" / "test").glob("*_test.csv"))
    rows = {file.name: list(csv.reader(file.open(encoding="utf-8", newline=""))) for file in files}
    loaded = load_items(TASK, REAL, shots=5)
    assert loaded.available == sum(map(len, rows.values()))
    assert loaded.available == 14042 or len(files) < 57
    for item in loaded.items:
        name, number = item.id.split("#")
        *cells, letter = rows[name][int(number) - 1]
        assert [item.fields["question"], *item.fields["options"]] == [cell.strip() for cell in cells]
        assert item.labels == ("ABCD".index(letter),)
    assert "None" in {option for item in loaded.items for option in item.fields["options"]}
    assert Counter(item.group for item in loaded.pool) == dict.fromkeys(mmlu_categories(), 5)


def test_the_layout_is_the_papers() -> None:
    loaded = load_items(TASK, FIXTURES, shots=2)
    asked = list(Questioner(TASK, loaded.pool).questions(TASK.prompts[0], loaded.items, 2))
    assert asked[1].text == QUERY
    assert asked[1].options == ("A", "B", "C", "D")
    other = next(question for question in asked if question.item.group == "formal_logic")
    assert "questions about formal logic.\n" in other.text
    assert "bone" not in other.text, "examples are of the question's own subject"


def test_every_subject_has_a_field_and_anatomy_moves() -> None:
    ours, original = mmlu_categories(), mmlu_categories("original")
    assert Counter(ours.values()) == {"stem": 19, "humanities": 13, "social_sciences": 12, "other": 13}
    assert {subject for subject in ours if ours[subject] != original[subject]} == {"anatomy"}
    assert (ours["anatomy"], original["anatomy"]) == ("stem", "other")


def test_accuracy_by_field_counts_its_questions_alone() -> None:
    def chosen(number: int, category: str, choice: int) -> Chosen:
        item = Item(str(number), {"category": category}, labels=(0,), group=f"{category}{number % 2}")
        scores = tuple(float(n == choice) for n in range(4))
        return Chosen(Question(item, "", 0, "", ("A", "B", "C", "D"), ""), scores, (1,) * 4, scores)

    rows = [("stem", 0), ("stem", 1), ("stem", 0), ("other", 3), ("other", 0), ("", 0), ("humanities", 0)]
    outcomes = [chosen(n, category, choice) for n, (category, choice) in enumerate(rows)]
    found = {name: value_of(METRICS[name].units(outcomes), METRICS[name]) for name in TASK.metrics}
    expected = {"accuracy": 5 / 7, "mmlu_stem": 2 / 3, "mmlu_humanities": 1.0, "mmlu_other": 0.5}
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    assert METRICS["mmlu_social_sciences"].units(outcomes) == []


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("anatomy_test.csv", "q,a,b,c,d\n"),
        ("anatomy_test.csv", "q,a,b,c,d,E\n"),
        ("anatomy_test.csv", "question,A,B,C,D,answer\n"),
        ("anatomy_test.csv", 'q,a,b,c,d,A\n"open,a,b,c,d,B\n'),
        ("anatomy.csv", "q,a,b,c,d,A\n"),
    ],
)
def test_a_file_that_is_not_mmlu_is_named(name: str, content: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=f"{name}, line .*Expected is CSV") as told:
        list(READERS["mmlu"]([tmp_path / name]))
    assert told.value.next_step


def test_a_subject_of_ones_own_has_no_field(tmp_path: Path) -> None:
    file = tmp_path / "lantern_lore_test.csv"
    file.write_text("q,a,b,c,d,C\n")
    (item,) = READERS["mmlu"]([file])
    assert (item.group, item.fields["subject"], item.fields["category"]) == ("lantern_lore", "lantern lore", "")
