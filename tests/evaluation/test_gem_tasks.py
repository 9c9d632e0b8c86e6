"""WebNLG, E2E, WikiLingua: references, groups of rows, and files that go together."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from asking import FIXTURES, ask_everything, items_of, task_of, value
from real_data import REAL, needs_real

from glm130b.errors import DataError
from glm130b.evaluation.items import Written
from glm130b.evaluation.readers import READERS
from glm130b.evaluation.registry import select
from glm130b.evaluation.task import Task

TASKS = select(["webnlg", "e2e", "wikilingua", "wikilingua_crosslingual"])
each_task = pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)

WEBNLG = "webnlg2020/release_v3.0/en/test/rdf-to-text-generation-test-data-with-refs-en.xml"
E2E = "e2e_clean/cleaned-data/test-fixed.csv"


@each_task
def test_every_wording_asks_every_item_of_the_fixtures(task: Task) -> None:
    questions = ask_everything(task, FIXTURES, shots=1)
    assert 4 <= len(questions) <= 12
    assert all("\n\n" in question.text for question in questions)
    outcomes = [Written(question, question.item.references[:1], (True,)) for question in questions]
    assert value("rouge2_glm", outcomes) == value("rougeL_glm", outcomes) == 1.0
    assert 0.5 < value("rouge2", outcomes) <= 1.0
    assert value("rougeL", [Written(question, ("xyz",), (True,)) for question in questions]) == 0.0


@needs_real
@pytest.mark.parametrize("name", ["webnlg", "e2e"])
def test_the_real_test_sets_are_whole(name: str) -> None:
    items = items_of(name, REAL)
    assert len(items) == task_of(name).data.expects
    ask_everything(task_of(name), REAL, most=50)


@needs_real
def test_real_references_are_all_there() -> None:
    counts = Counter(len(item.references) for item in items_of("webnlg", REAL))
    assert counts == {3: 1579, 2: 174, 1: 14, 4: 9, 5: 3}
    assert sum(len(item.references) for item in items_of("e2e", REAL)) == 4693


@needs_real
def test_real_articles_are_read_in_both_layouts() -> None:
    for name in ("wikilingua", "wikilingua_crosslingual"):
        ask_everything(task_of(name), REAL, shots=1)
    assert {item.group for item in items_of("wikilingua_crosslingual", REAL)} == {"es_en"}


def test_webnlg_takes_the_modified_triples() -> None:
    items = items_of("webnlg")
    assert items[1].fields["triples"] == ["Ruth Holm | occupation | Novelist", "Ruth Holm | birthPlace | Tam (town)"]
    assert [len(item.references) for item in items] == [3, 1, 2, 1]
    assert [item.group for item in items] == ["Lake", "Person", "Person", "Building"]


def test_e2e_has_an_item_an_input() -> None:
    items = items_of("e2e")
    assert [len(item.references) for item in items] == [2, 1, 2, 1]
    assert items[0].references[1] == 'At the riverside, there is a pub called "The Blue Hen".'


def test_only_a_line_feed_ends_an_article() -> None:
    items = items_of("wikilingua")
    assert len(items) == 4
    assert items[1].fields["article"].startswith("Look for a dry place. Cut the twigs short and lay")


def test_groups_are_pairs_of_languages_and_examples_stay_within() -> None:
    questions = ask_everything(task_of("wikilingua_crosslingual"), FIXTURES, shots=1)
    assert [question.item.group for question in questions] == ["es_en", "es_en", "tr_en", "tr_en"]
    assert all(("bien" in question.text) == (question.item.group == "es_en") for question in questions)


def test_a_sample_is_the_same_again_and_in_order() -> None:
    files = [FIXTURES / "wikilingua/english/test.src.en"]
    drawn = [[item.id for item in READERS["wikilingua"](files, sample=2, seed=seed)] for seed in (1, 1, 2, 3, 4)]
    assert drawn[0] == drawn[1]
    assert len({tuple(ids) for ids in drawn}) > 1
    assert all(ids == sorted(ids) and len(ids) == 2 for ids in drawn)


@pytest.mark.parametrize(
    ("reader", "name", "text", "reason"),
    [
        ("webnlg", "test.xml", (FIXTURES / WEBNLG).read_text()[:-60], "is not readable XML"),
        ("webnlg", "test.xml", (FIXTURES / WEBNLG).read_text().replace(" | location | ", " location "), "entry 1"),
        ("webnlg", "test.xml", "<b><entry><modifiedtripleset/></entry></b>", "entry 1: 0 triples and 0 texts"),
        ("e2e", "test.csv", "meaning,ref\na,b\n", "line 1: the header is 'meaning,ref'"),
        ("e2e", "test.csv", "mr,ref\na,b\na\n", "line 3: 1 columns of 2"),
        ("e2e", "test.csv", 'mr,ref\n"name[A], food[B],b\n', "unexpected end of data"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, reader: str, name: str, text: str, reason: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError) as caught:
        list(READERS[reader]([tmp_path / name]))
    assert str(tmp_path / name) in str(caught.value)
    assert reason in str(caught.value)
    assert "Expected is" in str(caught.value)


@pytest.mark.parametrize(
    ("source", "target", "reason"),
    [
        ("one\ntwo\n", "one\n", "test.tgt has fewer lines"),
        ("one\n", "one\ntwo\n", "test.src has fewer lines"),
        ("one\n\n", "one\ntwo\n", "line 2: article or summary is empty"),
        ("one\n", None, "test.tgt cannot be read"),
    ],
)
def test_articles_and_summaries_go_together(tmp_path: Path, source: str, target: str | None, reason: str) -> None:
    (tmp_path / "test.src").write_text(source)
    if target is not None:
        (tmp_path / "test.tgt").write_text(target)
    with pytest.raises(DataError) as caught:
        list(READERS["wikilingua"]([tmp_path / "test.src"]))
    assert reason in str(caught.value)


def test_a_folder_without_sources_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"No file of 1 is named \.src"):
        READERS["wikilingua"]([tmp_path / "test.tgt"])
