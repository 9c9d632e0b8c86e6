"""SuperGLUE: its layouts, and its scores where items belong together."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from asking import FIXTURES, answer_rightly, ask_everything, choose, items_of, task_of, value
from real_data import REAL, needs_real

from glm130b.errors import DataError
from glm130b.evaluation.data_files import load_items
from glm130b.evaluation.items import Item, Question
from glm130b.evaluation.questions import Questioner
from glm130b.evaluation.readers import READERS
from glm130b.evaluation.registry import select
from glm130b.evaluation.task import Task

TASKS = select(["superglue", "superglue_gmask"])
each_task = pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)

COUNTS = {
    "boolq": (3270, 2033),
    "cb": (56, 28),
    "copa": (100, 45),
    "multirc": (4848, 2075),
    "rte": (277, 131),
    "wic": (638, 319),
    "wsc": (104, 38),
}
"""Items of the validation set, and those with label 1; MultiRC's are answers."""


@each_task
def test_every_wording_asks_every_item_of_the_fixtures(task: Task) -> None:
    questions = ask_everything(task, FIXTURES)
    assert 4 <= len(questions) <= 12
    outcomes = [answer_rightly(question) for question in questions]
    assert [value(metric, outcomes) for metric in task.metrics] == [1.0] * len(task.metrics)
    if task.data.fewshot:
        ask_everything(task, FIXTURES, shots=1)


@each_task
def test_the_labels_of_the_fixtures_are_balanced(task: Task) -> None:
    items = load_items(task, FIXTURES).items
    shares = [sum(label in item.labels for item in items) / len(items) for label in range(2)]
    assert min(shares) >= 0.25


@needs_real
@pytest.mark.parametrize("name", COUNTS)
def test_the_real_validation_sets_are_whole(name: str) -> None:
    task = task_of(f"superglue/{name}")
    items = items_of(task.name, REAL)
    assert (len(items), sum(item.labels == (1,) for item in items)) == COUNTS[name]
    assert len(items) == task.data.expects


@needs_real
@each_task
def test_the_real_files_can_be_asked(task: Task) -> None:
    ask_everything(task, REAL, most=20)


@needs_real
def test_multirc_has_the_questions_and_paragraphs_of_the_validation_set() -> None:
    items = items_of("superglue/multirc", REAL)
    assert len({item.fields["question_id"] for item in items}) == 953
    assert len({item.cluster for item in items}) == 83


def test_a_clause_after_because_begins_small_but_for_i(tmp_path: Path) -> None:
    file = tmp_path / "val.jsonl"
    texts = {"choice1": "I'm late.", "choice2": "It rained."}
    file.write_text(json.dumps({"premise": "I ran.", "question": "cause", "label": 0, **texts}) + "\n")
    task = task_of("superglue/copa")
    (question,) = Questioner(task).questions(task.prompts[0], READERS["superglue_copa"]([file]))
    assert (question.text, question.options) == ("I ran because", ("I'm late.", "it rained."))


def test_record_takes_any_mention_and_ends_of_entities_are_inclusive() -> None:
    first = items_of("superglue/record")[0]
    assert first.fields["choices"][:2] == ["Anna Velt", "Besk"]
    assert {first.fields["choices"][label] for label in first.labels} == {"Anna Velt", "Velt"}
    assert set(first.references) == {"Anna Velt", "Velt"}
    assert first.fields["before"] + "@placeholder" + first.fields["after"] == (
        "The winner, @placeholder, thanked her club."
    )
    assert "@highlight" not in first.fields["passage"]


def test_record_scores_words_of_the_best_mention() -> None:
    item = Item("x", {}, labels=(0,), references=("The Anna Velt", "Velt"))
    question = Question(item, "p", 0, "t", ("anna velt!", "Ruth Velt", "Besk"), "d")
    assert [value("entity_exact_match", [choose(question, n)]) for n in range(3)] == [1, 0, 0]
    assert [value("entity_f1", [choose(question, n)]) for n in range(3)] == pytest.approx([1, 2 / 3, 0])


def test_the_pronoun_of_wsc_is_found_even_one_word_off() -> None:
    marked = [item.fields["marked"] for item in items_of("superglue/wsc")]
    assert marked[0] == "The jug did not fit into the basket because *it* was too wide."
    assert marked[2] == marked[3] == "Hanna thanked Ruth because *she* had mended the net , and gave her a loaf."
    assert marked[4].endswith("gave *her* a loaf.")


def test_questions_are_right_as_a_whole() -> None:
    questions = ask_everything(task_of("superglue/multirc"), FIXTURES)
    outcomes = [answer_rightly(question) for question in questions]
    outcomes[0] = choose(questions[0], 0)  # the one wrong answer spoils the first of four questions
    assert value("question_exact_match", outcomes) == 3 / 4
    assert value("f1_binary", outcomes) == pytest.approx(2 * 3 / (2 * 3 + 1))


def test_parity_is_of_pairs_whether_right_or_wrong() -> None:
    questions = ask_everything(task_of("superglue/axg"), FIXTURES)
    assert value("gender_parity", [choose(question, 0) for question in questions]) == 1.0
    assert value("accuracy", [choose(question, 0) for question in questions]) == 0.5
    assert value("gender_parity", [choose(question, n in (0, 2, 3)) for n, question in enumerate(questions)]) == 0.5
    assert value("gender_parity", [choose(question, n % 2) for n, question in enumerate(questions[:3])]) == 0.0


FAULTS = [
    ("superglue_boolq", {}, {"question": "q", "passage": "p", "label": 1}, "'label' is int"),
    ("superglue_boolq", {}, {"question": "q", "label": True}, "'passage' is missing"),
    ("superglue_nli", {"labels": ["a", "b"]}, {"premise": "p", "hypothesis": "h", "label": "c"}, "label is 'c'"),
    (
        "superglue_copa",
        {},
        {"premise": "p", "choice1": "a", "choice2": "b", "question": "reason", "label": 0},
        "question is 'reason'",
    ),
    (
        "superglue_copa",
        {},
        {"premise": "p", "choice1": "a", "choice2": "b", "question": "cause", "label": 2},
        "label is 2",
    ),
    ("superglue_multirc", {}, {"passage": {"text": "t", "questions": [{"question": "q"}]}}, "'answers' is missing"),
    ("superglue_multirc", {}, {"paragraph": {"text": "t"}}, "'passage' is missing"),
    (
        "superglue_record",
        {},
        {"passage": {"text": "abc", "entities": [{"start": 1, "end": 3}]}, "qas": []},
        "an entity is not within the passage",
    ),
    (
        "superglue_record",
        {},
        {
            "passage": {"text": "abc", "entities": [{"start": 0, "end": 0}]},
            "qas": [{"query": "XXXX", "answers": [{"text": "a"}]}],
        },
        "no @placeholder",
    ),
    ("superglue_wic", {}, {"word": "w", "sentence1": "a", "sentence2": "b", "label": "true"}, "'label' is str"),
    (
        "superglue_wsc",
        {},
        {"text": "a b", "target": {"span1_text": "a", "span2_text": "c", "span2_index": 1}, "label": True},
        "word 1 is not 'c'",
    ),
]


@pytest.mark.parametrize(("reader", "options", "record", "reason"), FAULTS)
def test_a_wrong_record_is_named(
    tmp_path: Path, reader: str, options: dict[str, list[str]], record: object, reason: str
) -> None:
    file = tmp_path / "val.jsonl"
    file.write_text(json.dumps(record) + "\n")
    with pytest.raises(DataError) as caught:
        list(READERS[reader]([file], **options))
    assert f"{file}, line 1" in str(caught.value)
    assert reason in str(caught.value)
    assert "JSON lines with" in str(caught.value)


def test_a_truncated_file_is_named(tmp_path: Path) -> None:
    whole = (FIXTURES / "superglue/RTE/val.jsonl").read_bytes()
    (tmp_path / "val.jsonl").write_bytes(whole[:-40])
    with pytest.raises(DataError, match=r"val.jsonl, line 4: this is not JSON"):
        list(READERS["superglue_nli"]([tmp_path / "val.jsonl"], labels=["entailment", "not_entailment"]))


def test_a_broken_pair_is_named(tmp_path: Path) -> None:
    lines = (FIXTURES / "superglue/AX-g/AX-g.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "AX-g.jsonl").write_text("".join(lines[1:]))
    with pytest.raises(DataError, match=r"line 2: the hypothesis is not that of the line before"):
        list(
            READERS["superglue_nli"]([tmp_path / "AX-g.jsonl"], labels=["entailment", "not_entailment"], in_pairs=True)
        )
