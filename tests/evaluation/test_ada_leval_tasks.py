"""Ada-LEval: layout, lengths, and how answers are read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from asking import FIXTURES, answer_rightly, ask_everything, items_of, value
from hypothesis import given
from hypothesis import strategies as st

from glm130b.errors import DataError
from glm130b.evaluation.items import Item, Question, Written
from glm130b.evaluation.metrics.ada_leval import best_answer, order
from glm130b.evaluation.readers import READERS
from glm130b.evaluation.registry import select
from glm130b.evaluation.task import Task

TASKS = select(["ada_leval"])
each_task = pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)


def test_all_lengths_are_there() -> None:
    best = [f"ada_leval/bestanswer/{length}k" for length in (1, 2, 4, 6, 8, 12, 16, 32, 64, 128)]
    sort = [f"ada_leval/tsort/{length}k" for length in (2, 4, 8, 16, 32, 64, 128)]
    assert {task.name for task in TASKS} == {*best, *sort}
    for task in TASKS:
        long = task.name.endswith(("/32k", "/64k", "/128k"))
        assert task.data.expects == task.data.options["first"] == (200 if long else 1000)
        assert task.published


@each_task
def test_every_wording_asks_every_item_of_the_fixtures(task: Task) -> None:
    questions = ask_everything(task, FIXTURES)
    assert len(questions) == 4
    assert value(task.metrics[0], [answer_rightly(question) for question in questions]) == 1.0
    assert value(task.metrics[0], [Written(question, ("?",), (True,)) for question in questions]) == 0.0


def test_answers_are_numbered_from_one() -> None:
    questions = ask_everything(select(["ada_leval/bestanswer/1k"])[0], FIXTURES)
    assert "A1:\nUse a loop that swaps the ends.\n\nA2:\nCall its method reverse." in questions[0].text
    assert [question.item.references for question in questions] == [("A2",), ("A1",), ("A12",), ("A1",)]


def test_orders_may_be_lists_or_texts() -> None:
    found = [item.references[0] for item in items_of("ada_leval/tsort/2k")]
    assert found == ["[2, 1, 4, 3]", "[4, 3, 2, 1]", "[1, 3, 2, 4]", "[3, 4, 1, 2]"]


def test_only_the_first_records_are_scored() -> None:
    file = FIXTURES / "ada_leval/stackselect_1k.json"
    assert len(list(READERS["best_answer"]([file], first=3))) == 3


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("A4", "A4"),
        ("Answer: A12", "A12"),
        ("A1 and A3 are good", "A3"),
        ("The designation is 7.", "A7"),
        ("A13", "A1"),
        ("I cannot say", ""),
        ("", ""),
    ],
)
def test_a_designation_is_found(text: str, found: str) -> None:
    assert best_answer(text, 12) == found


def slow_best_answer(text: str, answers: int) -> str:
    """As the public code goes about it."""
    candidates = [f"A{n}" for n in range(1, answers + 1)]
    hits = [text.find(candidate) for candidate in candidates]
    if any(hit >= 0 for hit in hits):
        return [c for c, hit in zip(candidates, hits, strict=True) if hit >= 0][-1]
    numbers = [str(n) for n in range(1, answers + 1)]
    hits = [text.find(number) for number in numbers]
    if any(hit >= 0 for hit in hits):
        return "A" + [c for c, hit in zip(numbers, hits, strict=True) if hit >= 0][-1]
    return ""


@given(st.text("A1230 ", max_size=12), st.integers(1, 25))
def test_a_designation_is_found_as_in_the_public_code(text: str, answers: int) -> None:
    assert best_answer(text, answers) == slow_best_answer(text, answers)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("[2, 1, 4, 3]", [2, 1, 4, 3]),
        ("Here you are. Answer: [4, 3, 2, 1]", [4, 3, 2, 1]),
        ("First 2, then 1, then 4, last 3.", [2, 1, 4, 3]),
        ("2143 or 1234", []),
        ("2 1 4", []),
        ("{}", []),
        ("7", []),
        ("[2, 1]", [2, 1]),
        ("", []),
    ],
)
def test_an_order_is_found(text: str, found: list[int]) -> None:
    assert order(text, 4) == found


def test_an_order_has_to_be_whole() -> None:
    question = Question(Item("x", {}, references=("[2, 1, 4, 3]",)), "p", 0, "t", (), "d")
    given_texts = ["[2, 1, 4, 3]", "[2, 1]", "[]", "[2, 1, 4, 3, 3]"]
    assert [value("exact_order", [Written(question, (text,), (True,))]) for text in given_texts] == [1, 0, 0, 0]


BEST = {"question_id": "1", "question": "q", "all_answers": ["a", "b"], "answer": "A2", "tags": []}
SORT = {"book_id": "1", "para_offset": [0], "prompt": "p", "answer": [2, 1]}


@pytest.mark.parametrize(
    ("reader", "tree", "reason"),
    [
        ("best_answer", {"0": BEST}, "the whole: this is dict"),
        ("best_answer", [BEST, {**BEST, "answer": "A3"}], "record 1: answer is 'A3' of 2 answers"),
        ("best_answer", [{**BEST, "all_answers": ["a", 2]}], "record 0: an answer is not a text"),
        ("best_answer", [{key: BEST[key] for key in ("question", "answer")}], "record 0: 'all_answers' is missing"),
        ("text_sort", [{**SORT, "answer": [2, 2]}], "record 0: answer is '[2, 2]'"),
        ("text_sort", [{**SORT, "answer": "two, one"}], "record 0: answer is 'two, one'"),
        ("text_sort", [{**SORT, "prompt": None}], "record 0: 'prompt' is NoneType"),
    ],
)
def test_a_wrong_record_is_named(tmp_path: Path, reader: str, tree: object, reason: str) -> None:
    file = tmp_path / "data.json"
    file.write_text(json.dumps(tree))
    with pytest.raises(DataError) as caught:
        list(READERS[reader]([file]))
    assert f"{file}, {reason}" in str(caught.value)
    assert "Expected is a JSON list of records" in str(caught.value)


def test_a_truncated_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "stackselect_1k.json"
    file.write_text((FIXTURES / "ada_leval/stackselect_1k.json").read_text()[:-20])
    with pytest.raises(DataError, match=r"stackselect_1k.json, line \d+: this is not JSON"):
        list(READERS["best_answer"]([file]))
