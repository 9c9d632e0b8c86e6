"""CLUE and FewCLUE on the fixtures, and on the real files where they are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from real_data import REAL, needs_real

from glm130b import evaluation
from glm130b.evaluation.data_files import load_items
from glm130b.evaluation.items import Chosen, Item, Question, Written
from glm130b.evaluation.metrics import METRICS
from glm130b.evaluation.questions import Questioner
from glm130b.evaluation.registry import read_tasks
from glm130b.evaluation.task import Task

FIXTURES = Path(__file__).parents[1] / "fixtures" / "evaluation"
TASKS = read_tasks(Path(evaluation.__file__).parent / "tasks" / "clue.yaml")
BY_NAME = {task.name: task for task in TASKS}
each_task = pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)


def right_answer(question: Question) -> Chosen | Written:
    if not question.options:
        return Written(question, (question.item.references[0],), (True,))
    scores = tuple(float(n in question.item.labels) for n in range(len(question.options)))
    return Chosen(question, scores, (1,) * len(scores), scores)


def value(name: str, outcomes: list[Chosen | Written]) -> float:
    units = METRICS[name].units(outcomes)
    return sum(unit.parts[0] for unit in units) / sum(unit.parts[1] for unit in units)


def test_the_tasks_of_the_authors_repository_are_there() -> None:
    clue = {"afqmc", "c3", "cluewsc", "cmnli", "cmrc2018", "csl", "drcd", "ocnli"}
    few = {"bustm", "chid", "cluewsc", "csl", "eprstmt", "ocnli"}
    assert set(BY_NAME) == {f"clue/{name}" for name in clue} | {f"fewclue/{name}" for name in few}


@each_task
def test_wordings_are_several_and_in_both_languages(task: Task) -> None:
    assert 3 <= len(task.prompts) <= 5
    chinese = [prompt for prompt in task.prompts if re.search("[一-龥]", prompt.jinja + (prompt.answer_choices or ""))]
    english = [prompt for prompt in task.prompts if re.search("[A-Za-z]{3,} [a-z]", re.sub("{.*?}", "", prompt.jinja))]
    assert chinese
    assert english
    assert task.prompts_report == "median"
    assert all(score.prompts == "max" for score in task.published if score.system == "GLM-130B")


@pytest.mark.parametrize(
    ("task", "shots"),
    [(task, shots) for task in TASKS for shots in ((0, 1) if task.data.fewshot else (0,))],
    ids=lambda value: value.name if isinstance(value, Task) else str(value),
)
def test_every_wording_asks_every_item_of_the_fixtures(task: Task, shots: int) -> None:
    loaded = load_items(task, FIXTURES, shots=shots)
    assert 4 <= loaded.available <= 12
    for prompt in task.prompts:
        questions = list(Questioner(task, loaded.pool).questions(prompt, loaded.items, shots))
        assert len(questions) == len(loaded.items)
        for question in questions:
            assert_asked(task, question)
        undecided = sum(not question.item.labels and not question.item.references for question in questions)
        for metric in task.metrics:
            found = value(metric, [right_answer(question) for question in questions])
            assert found == pytest.approx(1 - undecided / len(questions))


def assert_asked(task: Task, question: Question) -> None:
    item = question.item
    assert question.text.count("[MASK]") <= 1
    assert "{{" not in question.text
    if task.mode == "choice":
        assert len(question.options) == len(item.fields.get("choices", question.options))
        assert max(item.labels, default=0) < len(question.options)
        assert all(question.options)
    else:
        assert question.options == ()
        assert item.references
        assert item.fields["context"] in question.text


def test_letters_go_with_the_number_of_options() -> None:
    task = BY_NAME["clue/c3"]
    prompt = next(prompt for prompt in task.prompts if prompt.id == "letters_en")
    loaded = load_items(task, FIXTURES, shots=1)
    questions = list(Questioner(task, loaded.pool).questions(prompt, loaded.items))
    assert {question.options for question in questions} == {("A", "B"), ("A", "B", "C"), ("A", "B", "C", "D")}
    assert questions[5].text.endswith("(A) 对\n(B) 错\nAnswer: (")
    shown = next(Questioner(task, loaded.pool).questions(prompt, loaded.items[:1], 1)).text.split("\n\n")
    assert re.search(r"Answer: \([A-D]$", shown[1])


@pytest.mark.parametrize("name", ["clue/afqmc", "clue/cmnli", "clue/ocnli"])
def test_a_sentence_that_becomes_a_question_loses_its_own_ending(name: str) -> None:
    task = BY_NAME[name]
    prompt = next(prompt for prompt in task.prompts if prompt.id == "between_en")
    fields = {"sentence1": "水是冷的。", "sentence2": "水不热。", "label": 1}
    (question,) = Questioner(task).questions(prompt, [Item("a", fields, labels=(1,))])
    assert question.text == "水是冷的? [MASK], 水不热。"


def test_an_idiom_is_asked_for_in_its_place() -> None:
    task = BY_NAME["fewclue/chid"]
    loaded = load_items(task, FIXTURES, shots=1)
    asked = next(Questioner(task, loaded.pool).questions(task.prompts[0], loaded.items[1:2], 1))
    example, text = asked.text.split("\n\n")
    assert text == "最后一笔是全画的关键,可谓[MASK]。"
    assert asked.options[asked.item.labels[0]] == "画龙点睛"
    assert "[MASK]" not in example
    assert any(idiom in example for idiom in asked.options)


def test_undecided_items_count_as_wrong() -> None:
    task = BY_NAME["clue/ocnli"]
    questions = list(Questioner(task).questions(task.prompts[0], load_items(task, FIXTURES).items))
    assert value("accuracy", [right_answer(question) for question in questions]) == pytest.approx(6 / 7)


CLUSTERS = {
    "clue/afqmc": 4316,
    "clue/c3": 2674,
    "clue/cluewsc": 104,
    "clue/cmrc2018": 848,
    "clue/drcd": 1000,
    "clue/ocnli": 2188,
    "fewclue/bustm": 156,
    "fewclue/chid": 202,
    "fewclue/cluewsc": 78,
    "fewclue/csl": 144,
    "fewclue/eprstmt": 135,
    "fewclue/ocnli": 157,
}
"""Counted in the files: different passages, premises or questions."""


@needs_real
@pytest.mark.parametrize("name", CLUSTERS)
def test_the_real_files_have_the_items_of_the_reference(name: str) -> None:
    task = BY_NAME[name]
    shots = int(task.family == "fewclue")
    loaded = load_items(task, REAL, shots=shots)
    assert loaded.available == task.data.expects
    assert len({item.cluster for item in loaded.items}) == CLUSTERS[name]
    for prompt in task.prompts:
        for question in Questioner(task, loaded.pool).questions(prompt, loaded.items[:200], shots):
            assert_asked(task, question)


@needs_real
@each_task
def test_published_scores_of_the_paper_are_whole_numbers_of_items(task: Task) -> None:
    for score in task.published:
        if score.system == "GLM-130B" and task.data.expects:
            right = round(score.value * task.data.expects)
            assert round(right / task.data.expects, 4) == pytest.approx(score.value, abs=1e-4)


def items(name: str, *, pool: bool = False, **options: object) -> list[Item]:
    task = BY_NAME[name]
    data = task.data.model_copy(update={"options": {**task.data.options, **options}})
    loaded = load_items(task.model_copy(update={"data": data}), REAL, shots=int(pool))
    return loaded.pool if pool else loaded.items


@needs_real
@pytest.mark.parametrize("name", [name for name in BY_NAME if name.startswith("fewclue")])
def test_no_solved_example_is_an_item(name: str) -> None:
    whole = {} if name == "fewclue/chid" else {"by": []}
    examples = {item.cluster for item in items(name, pool=True, **whole)}
    assert len(examples) > 100
    assert not examples & {item.cluster for item in items(name, **whole)}


@needs_real
def test_of_159_questions_on_pronouns_120_are_different() -> None:
    questions = {item.cluster for item in items("fewclue/cluewsc", by=[])}
    assert len(questions) == 120
    assert questions <= {item.cluster for item in items("clue/cluewsc", by=[])}, "FewCLUE is cut from CLUE"


@needs_real
def test_50_undecided_items_stay_in_the_denominator() -> None:
    everything = items("clue/ocnli")
    assert sum(not item.labels for item in everything) == 50
    assert len(items("clue/ocnli", skip_undecided=True)) == 2950
    cut = {item.cluster for item in items("fewclue/ocnli", by=[])}
    assert cut <= {item.cluster for item in items("clue/ocnli", by=[])}


@needs_real
def test_what_the_notes_say_of_the_reading_sets() -> None:
    cmrc, drcd = items("clue/cmrc2018"), items("clue/drcd")
    assert sum(len(item.references) > 1 for item in cmrc) == 919
    assert max(len(item.references) for item in cmrc) == 3
    assert max(len(item.references) for item in drcd) == 2
    c3 = items("clue/c3")
    assert {len(item.fields["choices"]) for item in c3} == {2, 3, 4}
    assert [sum(item.group == group for item in c3) for group in ("c3-d-dev", "c3-m-dev")] == [1825, 1991]


@needs_real
def test_half_of_cmnli_and_the_layout_of_csl_are_read() -> None:
    assert len(items("clue/cmnli")) == 6117
    assert items("clue/csl")[0].labels == (1,)
