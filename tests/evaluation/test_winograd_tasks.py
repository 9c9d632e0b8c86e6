"""Winograd and Winogender: both layouts, pronouns, pairs, and no example that gives an item away."""

from __future__ import annotations

from pathlib import Path

import pytest
from asking import FIXTURES, answer_rightly, ask_everything, choose, items_of, task_of, value
from real_data import REAL, needs_real

from glm130b.errors import DataError
from glm130b.evaluation.data_files import load_items
from glm130b.evaluation.items import Chosen
from glm130b.evaluation.questions import Questioner
from glm130b.evaluation.readers import READERS
from glm130b.evaluation.registry import select
from glm130b.evaluation.task import Task

TASKS = select(["winograd273", "winograd273_substitution", "winogender"])
each_task = pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)


@each_task
def test_every_wording_asks_every_item_of_the_fixtures(task: Task) -> None:
    questions = ask_everything(task, FIXTURES)
    assert 4 <= len(questions) <= 12
    labels = [question.item.labels[0] for question in questions]
    assert sum(labels) * 2 == len(labels)
    outcomes = [answer_rightly(question) for question in questions]
    assert [value(metric, outcomes) for metric in task.metrics] == [
        0.0 if m == "gender_gap" else 1.0 for m in task.metrics
    ]


@needs_real
@each_task
def test_the_real_sets_are_whole(task: Task) -> None:
    items = items_of(task.name, REAL)
    assert len(items) == task.data.expects
    ask_everything(task, REAL, most=300)


@needs_real
def test_both_layouts_hold_the_same_schemas() -> None:
    sentences = [
        ["".join(item.fields[part].split()) for item in items_of(name, REAL) for part in ("before", "after")]
        for name in ("winograd273", "winograd273_substitution")
    ]
    same = [first == second for first, second in zip(*sentences, strict=True)]
    assert sum(same) > 0.95 * len(same)
    assert {item.labels for item in items_of("winograd273_substitution", REAL)} == {(0,), (1,)}


def test_texts_are_stripped_and_put_together() -> None:
    items = items_of("winograd273")
    sentences = [item.fields["before"] + item.fields["pronoun"] + item.fields["after"] for item in items]
    assert sentences[0] == "The jug did not fit into the basket because it was too wide."
    assert sentences[4] == "There is a hole in the hedge. You can see the garden through it."
    assert sentences[6] == "The fox followed the hare, but he, being old, was too slow."
    assert items[0].fields["choices"] == ["the jug", "the basket"]
    assert [item.labels[0] for item in items] == [0, 1, 1, 0, 0, 1, 0, 1]


def test_pairs_are_clusters_in_both_layouts() -> None:
    for name in ("winograd273", "winograd273_substitution"):
        clusters = [item.cluster for item in items_of(name)]
        assert len(set(clusters)) == 4
        assert clusters[::2] == clusters[1::2]


@pytest.mark.parametrize("name", ["winograd273", "winogender"])
def test_an_example_is_never_of_the_same_pair(name: str) -> None:
    task = task_of(name)
    loaded = load_items(task, FIXTURES, shots=1)
    for seed in range(10):
        for asked in Questioner(task, loaded.pool, seed=seed).questions(task.prompts[0], loaded.items, 1):
            example = asked.text.split("\n\n")[0]
            assert not any(choice in example for choice in asked.item.fields["choices"] if choice != "someone")


def test_winogender_finds_its_pronoun_and_its_persons() -> None:
    items = {item.id: item for item in items_of("winogender")}
    assert items["porter.someone.1.male"].fields["pronoun"] == "his"
    assert items["porter.someone.1.male"].fields["choices"] == ["the porter", "someone"]
    assert items["porter.someone.0.neutral"].fields["pronoun"] == "them"
    assert items["porter.someone.0.neutral"].fields["pair"] == ""


def test_the_gap_is_of_pairs_and_has_a_sign() -> None:
    questions = ask_everything(task_of("winogender"), FIXTURES)

    def right_for(gender: str) -> list[Chosen]:
        return [
            choose(one, one.item.labels[0] if one.item.fields["gender"] == gender else 1 - one.item.labels[0])
            for one in questions
        ]

    assert value("gender_gap", right_for("male")) == 1.0
    assert value("gender_gap", right_for("female")) == -1.0
    assert value("gender_gap", right_for("neutral")) == 0.0
    assert value("gender_parity", right_for("male")) == 0.0
    assert value("gender_parity", right_for("neutral")) == 1.0


WHOLE = (FIXTURES / "winograd/WSCollection.xml").read_text()


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("WSCollection.xml", WHOLE[:-30], "is not readable XML"),
        ("WSCollection.xml", WHOLE.replace("<correctAnswer> B. <", "<correctAnswer> C. <", 1), "schema 2: 2 answers"),
        (
            "WSCollection.xml",
            WHOLE.replace("<pron> it <", "<pron> <", 1),
            "schema 1: 2 answers, right is 'A', pronoun ''",
        ),
        ("wsc273.txt", "A [MASK] b.\n[MASK]\nx,y\nx\n\nA [MASK] b.\n[MASK]\nx,y\nz\n", "line 6: a block of 4 lines"),
        ("wsc273.txt", "A b.\n[MASK]\nx,y\nx\n", "line 1: a block of 4 lines"),
        ("wsc273.txt", "A [MASK] b.\n[MASK]\nx,y\n", "line 1: a block of 3 lines"),
    ],
)
def test_a_wrong_schema_is_named(tmp_path: Path, name: str, text: str, reason: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError) as caught:
        list(READERS["winograd"]([tmp_path / name]))
    assert str(tmp_path / name) in str(caught.value)
    assert reason in str(caught.value)
    assert "Expected is" in str(caught.value)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("baker.guest.2.male.txt\tThe baker told the guest that he left.", "this is 'baker.guest.2.male.txt"),
        ("baker.guest.1.male.txt\tThe baker told the guest that she left.", "0 words of"),
        ("baker.guest.1.male.txt", "this is 'baker.guest.1.male.txt'"),
    ],
)
def test_a_wrong_sentence_is_named(tmp_path: Path, line: str, reason: str) -> None:
    file = tmp_path / "all_sentences.tsv"
    file.write_text(f"sentid\tsentence\n{line}\n")
    with pytest.raises(DataError) as caught:
        list(READERS["winogender"]([file]))
    assert f"{file}, line 2: {reason}" in str(caught.value)
