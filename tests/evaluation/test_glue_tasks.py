"""GLUE and MC-TACO: columns, counts, and scores of whole questions."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pytest
from asking import FIXTURES, answer_rightly, ask_everything, choose, guesses, items_of, question, task_of, value
from real_data import REAL, needs_real

from glm130b.errors import DataError
from glm130b.evaluation.items import Chosen
from glm130b.evaluation.readers import READERS
from glm130b.evaluation.registry import select
from glm130b.evaluation.task import Task

TASKS = select(["glue", "mc_taco"])

COUNTS = {"glue/cola": (1043, 719), "glue/qnli": (5463, 2761), "glue/wnli": (71, 31), "mc_taco": (3783, 1229)}
"""Items of the validation set, and those with label 1."""

PAIRS = {"first": "sentence1", "second": "sentence2", "label": "label", "labels": ["0", "1"]}


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_every_wording_asks_every_item_of_the_fixtures(task: Task) -> None:
    questions = ask_everything(task, FIXTURES)
    assert 4 <= len(questions) <= 12
    outcomes = [answer_rightly(one) for one in questions]
    assert [value(metric, outcomes) for metric in task.metrics] == [1.0] * len(task.metrics)
    ask_everything(task, FIXTURES, shots=1)


@needs_real
@pytest.mark.parametrize("name", COUNTS)
def test_the_real_validation_sets_are_whole(name: str) -> None:
    items = items_of(name, REAL)
    assert (len(items), sum(item.labels == (1,) for item in items)) == COUNTS[name]
    assert len(items) == task_of(name).data.expects
    ask_everything(task_of(name), REAL, most=20)


@needs_real
def test_the_real_mnli_layout_is_read() -> None:
    assert [item.labels for item in items_of("glue/mnli", REAL)] == [(1,), (2,)]
    assert [item.labels for item in items_of("glue/mnli_mismatched", REAL)] == [(2,), (2,)]


@needs_real
def test_published_cola_scores_are_whole_counts() -> None:
    counts = [score.value * 1043 for score in task_of("glue/cola").published]
    assert counts == pytest.approx([round(count) for count in counts], abs=0.01)


def test_quotation_marks_are_ordinary_and_a_byte_order_mark_is_none() -> None:
    assert items_of("glue/mnli")[0].fields["first"] == 'The ferry leaves at "nine sharp.'
    assert items_of("glue/cola")[5].fields["sentence"] == 'Said "come Hanna in.'
    assert items_of("glue/mrpc")[1].fields["first"] == 'The bell weighs " two tons .'


def test_cola_is_grouped_by_domain() -> None:
    assert [item.group for item in items_of("glue/cola")] == ["in_domain"] * 4 + ["out_of_domain"] * 2


@pytest.mark.parametrize(
    ("reader", "options", "text", "place", "reason"),
    [
        ("glue_pairs", PAIRS, "index\tsentence1\tsentence2\n0\ta\tb\n", 1, "the header lacks label"),
        ("glue_pairs", PAIRS, "sentence1\tsentence2\tlabel\na\tb\t1\na\tb\n", 3, "2 columns, and the header has 3"),
        ("glue_pairs", PAIRS, "sentence1\tsentence2\tlabel\na\tb\tyes\n", 2, "label is 'yes', none of 0, 1"),
        ("glue_cola", {}, "gj04\t1\tA sentence.\n", 1, "3 columns"),
        ("glue_cola", {}, "gj04\t1\t\tOne.\ngj04\t*\t\tTwo.\n", 2, "the label is '*'"),
        ("mc_taco", {}, "sentence\tquestion\tcandidate\tyes\n", 1, "4 columns"),
        ("mc_taco", {}, "s\tq\tc\tmaybe\tFrequency\n", 1, "the fourth column is 'maybe'"),
    ],
)
def test_a_wrong_line_is_named(
    tmp_path: Path, reader: str, options: dict[str, object], text: str, place: int, reason: str
) -> None:
    file = tmp_path / "dev.tsv"
    file.write_text(text)
    with pytest.raises(DataError) as caught:
        list(READERS[reader]([file], **options))
    assert f"{file}, line {place}: {reason}." in str(caught.value)
    assert "columns" in str(caught.value)


def slow_mc_taco(outcomes: Sequence[Chosen]) -> tuple[float, float]:
    """As MC-TACO's evaluator goes about it: question by question, with defaults of 1."""
    exact, f1s = [], []
    names = {one.question.item.fields["question_id"] for one in outcomes}
    for name in names:
        mine = [one for one in outcomes if one.question.item.fields["question_id"] == name]
        predicted = [("no", "yes")[one.choice] for one in mine]
        gold = [("no", "yes")[one.question.item.labels[0]] for one in mine]
        exact.append(predicted == gold)
        both = sum(a == b == "yes" for a, b in zip(predicted, gold, strict=True))
        precision = both / predicted.count("yes") if "yes" in predicted else 1.0
        recall = both / gold.count("yes") if "yes" in gold else 1.0
        f1s.append(2 * precision * recall / (precision + recall) if precision + recall else 0.0)
    return sum(exact) / len(exact), sum(f1s) / len(f1s)


@pytest.mark.parametrize("seed", range(20))
def test_scores_of_questions_are_those_of_the_evaluator(seed: int) -> None:
    rng = random.Random(seed)
    questions = [
        question(rng.randrange(2), name=str(n), question_id=str(rng.randrange(8))) for n in range(rng.randrange(1, 40))
    ]
    outcomes = guesses(questions, rng.randrange)
    found = value("question_exact_match", outcomes), value("question_f1", outcomes)
    assert found == pytest.approx(slow_mc_taco(outcomes))


def test_a_question_without_right_candidates_is_answered_by_choosing_none() -> None:
    questions = [question(0, name=str(n), question_id="q") for n in range(2)]
    assert value("question_f1", [choose(one, 0) for one in questions]) == 1.0
    assert value("question_f1", [choose(one, 1) for one in questions]) == 0.0


@needs_real
def test_mc_taco_has_the_questions_of_the_validation_set() -> None:
    assert len({item.fields["question_id"] for item in items_of("mc_taco", REAL)}) == 561
