"""Questions answered from memory, and questions with options: what is read, and whether faults are told."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from real_data import REAL, needs_real

from glm130b.errors import DataError
from glm130b.evaluation.data_files import load_items
from glm130b.evaluation.items import Item
from glm130b.evaluation.questions import Questioner
from glm130b.evaluation.readers import READERS
from glm130b.evaluation.registry import known_tasks

FIXTURES = Path(__file__).parents[1] / "fixtures" / "evaluation"


def items(name: str, data: Path = FIXTURES) -> list[Item]:
    return load_items(known_tasks()[name], data).items


@needs_real
@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("natural_questions", 3610),
        ("triviaqa", 3),
        ("triviaqa_dpr", 3000),
        ("webquestions", 1),
        ("webquestions_factoid", 2032),
        ("strategyqa", 229),
        ("commonsenseqa", 1221),
        ("openbookqa", 500),
        ("math_qa", 2985),
        ("pubmed_qa", 500),
    ],
)
def test_every_real_item_is_read(name: str, count: int) -> None:
    """The counts are those of the manifest; TriviaQA, WebQuestions' first layout and PubMedQA are there in part."""
    found = items(name, REAL)
    assert len(found) == count
    expects = known_tasks()[name].data.expects
    assert expects == count or (name in {"triviaqa", "triviaqa_dpr", "webquestions", "pubmed_qa"} and expects > count)
    assert all(item.labels or item.references for item in found)


@needs_real
def test_real_options_are_without_their_letters() -> None:
    records = json.loads((REAL / "math_qa" / "test.json").read_text(encoding="utf-8"))
    twice = 0
    for record, item in zip(records, items("math_qa", REAL), strict=True):
        choices = item.fields["choices"]
        assert len(choices) == 5
        assert all(choice and not choice.startswith(("a )", "b )", "c )", "d )", "e )")) for choice in choices)
        assert record["correct"] in {"abcde"[label] for label in item.labels}
        assert len({choices[label] for label in item.labels}) == 1
        twice += re.search(r"([a-e]) \) \1 \)", record["options"]) is not None
    assert twice == 49
    known = next(n for n, record in enumerate(records) if record["options"].startswith("a ) a ) 2 , b ) b ) 5"))
    assert items("math_qa", REAL)[known].fields["choices"][:2] == ["2", "5"]


@needs_real
@pytest.mark.parametrize(("name", "twice"), [("commonsenseqa", 6), ("math_qa", 11), ("openbookqa", 0)])
def test_a_right_option_that_is_there_twice_is_right_twice(name: str, twice: int) -> None:
    found = items(name, REAL)
    assert sum(len(item.labels) > 1 for item in found) == twice
    for item in found:
        right = item.fields["choices"][item.fields["label"]]
        assert item.labels == tuple(n for n, choice in enumerate(item.fields["choices"]) if choice == right)


@pytest.mark.parametrize("name", ["natural_questions", "triviaqa", "webquestions"])
def test_a_question_ends_with_one_question_mark(name: str) -> None:
    task = known_tasks()[name]
    for prompt in task.prompts:
        for question in Questioner(task).questions(prompt, items(name)):
            assert question.text.count(question.item.fields["question"].rstrip("?") + "?") == 1
            assert "??" not in question.text


@needs_real
def test_real_answers_are_counted() -> None:
    assert Counter(item.labels[0] for item in items("pubmed_qa", REAL)) == {0: 276, 1: 169, 2: 55}
    truth = json.loads((REAL / "pubmed_qa" / "test_ground_truth.json").read_text())
    assert {item.id: ("yes", "no", "maybe")[item.labels[0]] for item in items("pubmed_qa", REAL)} == truth
    lines = items("triviaqa_dpr", REAL)
    assert '"30s"' not in str(lines[12].references)
    assert "'30s" in lines[12].references
    assert not any(item.fields["question"].startswith('"') and '""' in item.fields["question"] for item in lines)


part = (
    st.text("ab19., :/-", min_size=1, max_size=8)
    .map(str.strip)
    .filter(lambda text: text and " , " not in f" {text} " and " ) " not in text)
)


@given(choices=st.lists(part, min_size=5, max_size=5), twice=st.booleans(), as_list=st.booleans())
def test_any_five_options_come_apart_again(
    choices: list[str], twice: bool, as_list: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    letters = [f"{letter} ) {letter} ) " if twice else f"{letter} ) " for letter in "abcde"]
    options = [letter + choice for letter, choice in zip(letters, choices, strict=True)]
    record = {"Problem": "p ?", "options": str(options) if as_list else " , ".join(options), "correct": "d"}
    file = tmp_path_factory.mktemp("math") / "test.json"
    file.write_text(json.dumps([record]))
    (item,) = READERS["math_qa"]([file])
    assert item.fields["choices"] == choices
    assert item.labels == tuple(n for n, choice in enumerate(choices) if choice == choices[3])


def test_layouts_of_one_set_agree() -> None:
    web, factoid = items("webquestions"), items("webquestions_factoid")
    assert [item.fields["question"] for item in web] == [item.fields["question"] for item in factoid]
    assert web[0].references == factoid[0].references == ("Lantern Bridge", "Kiln")
    assert web[2].references == ('Brindle "Bee" Quill',)
    assert web[3].references == ("Imber Vale (north)",)
    trivia, dpr = items("triviaqa"), items("triviaqa_dpr")
    assert trivia[0].references == ("Ada Quill", "A. Quill", "ada quill", "a. quill")
    assert dpr[0].references == ("Ada Quill", "A. O'Quill")
    assert dpr[1].fields["question"] == 'Who said "kettle" twice?'


def test_yes_is_the_first_option() -> None:
    task = known_tasks()["strategyqa"]
    for prompt in task.prompts:
        for question in Questioner(task).questions(prompt, items("strategyqa")):
            answer = json.loads((FIXTURES / "strategyqa" / "dev.json").read_text())[int(question.item.id[1:])]["answer"]
            right = question.options[question.item.labels[0]].lower()
            assert right in (("yes", "right") if answer else ("no", "wrong"))


def test_options_are_scored_and_not_shown_where_the_paper_shows_none() -> None:
    task = known_tasks()["commonsenseqa"]
    for prompt in task.prompts:
        for question in Questioner(task).questions(prompt, items("commonsenseqa")):
            shown = [option for option in question.options if option in question.text]
            assert shown == []
            assert question.text.count("[MASK]") == 1


FAULTS: dict[str, list[Any]] = {
    "nq_open": ['{"question": "q"}', '{"question": "q", "answer": "a"}', '{"question": "q", "answer": []}', "q\ta"],
    "webquestions": [
        "{}",
        '[{"qText": "q"}]',
        '[{"utterance": "q", "targetValue": "a"}]',
        '[{"qText": "q", "answers": [1]}]',
    ],
    "strategyqa": ["{}", '[{"qid": "1", "question": "q", "answer": "yes"}]', '[{"question": "q", "answer": true}]'],
    "ai2_choice": [
        '{"id": "1", "question": {"stem": "q", "choices": [{"label": "A", "text": "a"}]}}',
        '{"id": "1", "question": {"stem": "q", "choices": [{"label": "A", "text": "a"}]}, "answerKey": "B"}',
        '{"id": "1", "question": "q", "answerKey": "A"}',
    ],
    "math_qa": [
        "{}",
        '[{"Problem": "p", "options": "a ) 1 , b ) 2", "correct": "a"}]',
        '[{"Problem": "p", "options": "a ) 1 , b ) 2 , c ) 3 , d ) 4 , e ) 5", "correct": "f"}]',
        '[{"Problem": "p", "options": "[1", "correct": "a"}]',
    ],
    "pubmed_qa": [
        "[]",
        '{"1": {"QUESTION": "q", "CONTEXTS": ["c"], "final_decision": "perhaps"}}',
        '{"1": {"QUESTION": "q"}}',
    ],
    "triviaqa": ["[]", '{"Data": [{"Question": "q", "QuestionId": "1"}]}', '{"Data": {}}'],
}


@pytest.mark.parametrize(("name", "content"), [(name, text) for name, texts in FAULTS.items() for text in texts])
def test_a_file_of_another_form_is_named(name: str, content: str, tmp_path: Path) -> None:
    file = tmp_path / "some.json"
    file.write_text(content)
    with pytest.raises(DataError, match=r"some\.json, ") as told:
        list(READERS[name]([file]))
    assert told.value.next_step


@pytest.mark.parametrize("line", ["question alone", "q\tanswer", "q\t['a'", "q\t['a']\tmore", 'q\t"[open'])
def test_a_line_that_dpr_would_not_write_is_named(line: str, tmp_path: Path) -> None:
    file = tmp_path / "trivia.txt"
    file.write_text(f"good\t['a']\n{line}\n")
    with pytest.raises(DataError, match=r"trivia\.txt, line 2.*Expected is lines of a question"):
        list(READERS["triviaqa"]([file]))
