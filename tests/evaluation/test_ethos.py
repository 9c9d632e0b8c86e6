"""ETHOS: two files, two tasks."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from real_data import REAL, needs_real

from glm130b.errors import ConfigError, DataError
from glm130b.evaluation.questions import Questioner
from glm130b.evaluation.readers import READERS
from glm130b.evaluation.registry import known_tasks

FIXTURES = Path(__file__).parents[1] / "fixtures" / "evaluation" / "ethos"
FILES = REAL / "ethos"
BINARY, MULTI = "Ethos_Dataset_Binary.csv", "Ethos_Dataset_Multi_Label.csv"


def test_binary_labels_are_cut_at_one_half() -> None:
    items = list(READERS["ethos"]([FIXTURES / BINARY]))
    by_text = {item.fields["comment"]: item.labels for item in items}
    assert by_text["I would ban every man from this shop"] == (1,)
    assert by_text['He said "no" and left'] == (0,)
    assert by_text["The bridge is closed; take the ferry"] == (0,)
    assert Counter(item.labels for item in items) == {(0,): 6, (1,): 6}


def test_three_ways() -> None:
    items = list(READERS["ethos"]([FIXTURES / BINARY, FIXTURES / MULTI], task="three_way"))
    by_label = {label: [i.fields["comment"] for i in items if i.labels == (label,)] for label in range(3)}
    assert by_label[1] == ["Women cannot count", "I would ban every man from this shop"]
    assert len(by_label[2]) == 3
    assert by_label[0] == [
        "What a lovely song",
        "The bridge is closed; take the ferry",
        "This film was too long, and I slept",
        "Who won the race yesterday?",
    ]
    assert len({item.id for item in items}) == len(items) == 9


@needs_real
def test_the_real_files() -> None:
    items = list(READERS["ethos"]([FILES / BINARY]))
    assert Counter(item.labels for item in items) == {(0,): 565, (1,): 433}
    items = list(READERS["ethos"]([FILES / MULTI, FILES / BINARY], task="three_way"))
    assert Counter(item.labels for item in items) == {(0,): 354, (1,): 83, (2,): 73}


@pytest.mark.parametrize("name", ["ethos/binary", "ethos/three_way"])
def test_no_comment_is_its_own_example(name: str) -> None:
    task = known_tasks()[name]
    files = [FIXTURES / Path(pattern).name for pattern in task.data.files]
    items = list(READERS["ethos"](files, **task.data.options))
    for prompt in task.prompts:
        for question in Questioner(task, items).questions(prompt, items, 3):
            assert question.text.count(question.item.fields["comment"]) == 1
            assert question.text.count("[MASK]") == 1
            assert len(question.options) == (2 if name == "ethos/binary" else 3)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("comment,isHate\nx,1\n", "line 1: the header lacks comment"),
        ("comment;isHate\nx;1.5\n", "line 2: isHate is '1.5'"),
        ("comment;isHate\nx;yes\n", "line 2: isHate is 'yes'"),
        ("comment;isHate\nx;nan\n", "line 2: isHate is 'nan'"),
        ("comment;isHate\nx;y;1\n", "line 2: there are 3 cells, not 2"),
        ('comment;isHate\nfine;0\n"x;1\n', "the table is damaged"),
        ("comment;isHate\n ;1\n", "line 2: the comment is empty"),
    ],
)
def test_files_that_are_something_else(tmp_path: Path, text: str, reason: str) -> None:
    file = tmp_path / BINARY
    file.write_text(text)
    with pytest.raises(DataError) as caught:
        list(READERS["ethos"]([file]))
    assert reason in caught.value.problem
    assert "comment;isHate" in caught.value.next_step


def test_a_file_or_task_that_is_missing() -> None:
    with pytest.raises(DataError, match=r"ETHOS \(three_way\) is not among"):
        list(READERS["ethos"]([FIXTURES / BINARY], task="three_way"))
    with pytest.raises(DataError, match=r"ETHOS \(binary\) is not among"):
        list(READERS["ethos"]([FIXTURES / MULTI]))
    with pytest.raises(ConfigError, match="no task 'four'"):
        list(READERS["ethos"]([FIXTURES / BINARY], task="four"))
