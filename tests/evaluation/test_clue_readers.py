from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glm130b.errors import ConfigError, DataError
from glm130b.evaluation.items import Item
from glm130b.evaluation.readers import READERS
from glm130b.evaluation.readers.folding import cluster_of, folded

FIXTURES = Path(__file__).parents[1] / "fixtures" / "evaluation"
PAIR = {"text": ["sentence1", "sentence2"], "labels": ["0", "1"]}
INFERENCE = {"text": ["sentence1", "sentence2"], "labels": ["entailment", "neutral", "contradiction"]}


def read(reader: str, *files: Path, **options: Any) -> list[Item]:
    return list(READERS[reader](files, **options))


def test_pairs_keep_their_texts_and_labels() -> None:
    items = read("clue", FIXTURES / "clue/afqmc_public/dev.json", **PAIR)
    assert [item.labels for item in items] == [(1,), (0,), (1,), (0,), (1,), (0,)]
    assert items[1].id == "dev.json#2"
    assert items[1].fields == {"sentence1": "怎么修改登录密码", "sentence2": "忘记了手机号怎么办", "label": 0}


def test_undecided_items_have_no_right_option_or_are_left_out() -> None:
    file = FIXTURES / "clue/ocnli/dev.json"
    items = read("clue", file, undecided="-", group="genre", **INFERENCE)
    assert [item.labels for item in items] == [(0,), (2,), (1,), (0,), (2,), (1,), ()]
    assert items[-1].fields["label"] is None
    assert Counter(item.group for item in items) == {"gov": 3, "phone": 4}
    kept = read("clue", file, undecided="-", skip_undecided=True, **INFERENCE)
    assert [item.id for item in kept] == [item.id for item in items[:-1]]
    with pytest.raises(DataError, match=r"dev\.json, line 7: the label is '-'"):
        read("clue", file, **INFERENCE)


def test_the_same_texts_are_one_cluster_and_so_are_the_fields_named() -> None:
    bustm = read("clue", FIXTURES / "fewclue/bustm/dev_few_all.json", **PAIR)
    assert bustm[0].cluster == bustm[4].cluster
    assert len({item.cluster for item in bustm}) == 5
    ocnli = FIXTURES / "clue/ocnli/dev.json"
    assert len({item.cluster for item in read("clue", ocnli, undecided="-", **INFERENCE)}) == 7
    assert len({item.cluster for item in read("clue", ocnli, undecided="-", by=["sentence1"], **INFERENCE)}) == 2
    reviews = read(
        "clue", FIXTURES / "fewclue/eprstmt/dev_few_all.json", text=["sentence"], labels=["Negative", "Positive"]
    )
    assert len({item.cluster for item in reviews}) == 5, "full-width commas are commas"


@pytest.mark.parametrize(("reader", "options"), [("clue", PAIR), ("cluewsc", {})])
def test_clusters_are_by_fields_that_items_have(reader: str, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"Clusters are by 'passage', and items have (sentence1|text), "):
        read(reader, FIXTURES / "clue/afqmc_public/dev.json", by=["passage"], **options)


def test_keywords_are_a_list() -> None:
    items = read("clue", FIXTURES / "clue/csl_public/dev.json", text=["abst", "keyword"], labels=["0", "1"])
    assert items[3].fields["keyword"] == ["桥梁", "细胞"]
    assert len({item.cluster for item in items}) == 4


def test_spans_are_found_by_their_offsets() -> None:
    items = read("cluewsc", FIXTURES / "fewclue/cluewsc/dev_few_all.json")
    first = items[0].fields
    assert first["marked"] == "船夫把绳子递给少年，[他]把绳子系在石头上，然后他们一起上了岸。"
    assert first["replaced"] == "船夫把绳子递给少年，少年把绳子系在石头上，然后他们一起上了岸。"
    assert (first["candidate"], first["pronoun"], items[0].labels) == ("少年", "他", (1,))
    assert items[0].cluster == items[4].cluster != items[1].cluster
    by_text = read("cluewsc", FIXTURES / "fewclue/cluewsc/dev_few_all.json", by=["text"])
    assert by_text[0].cluster == by_text[1].cluster != by_text[2].cluster


@given(st.text("他她猫 鸟a", min_size=1), st.data())
def test_marking_and_replacing_undo_one_another(tmp_path_factory: pytest.TempPathFactory, text: str, data: Any) -> None:
    def span() -> tuple[str, int]:
        start = data.draw(st.integers(0, len(text) - 1))
        return text[start : data.draw(st.integers(start + 1, len(text)))], start

    (candidate, first), (pronoun, second) = span(), span()
    target = {"span1_text": candidate, "span1_index": first, "span2_text": pronoun, "span2_index": second}
    file = tmp_path_factory.mktemp("wsc") / "dev.json"
    file.write_text(json.dumps({"text": text, "label": "true", "target": target}), encoding="utf-8")
    fields = read("cluewsc", file)[0].fields
    assert fields["marked"][second:].startswith(f"[{pronoun}]")
    assert fields["marked"][:second] + pronoun + fields["marked"][second + len(pronoun) + 2 :] == text
    assert fields["replaced"][:second] + pronoun + fields["replaced"][second + len(candidate) :] == text


def test_idioms_are_cut_out_at_the_gap() -> None:
    items = read("chid", FIXTURES / "fewclue/chid/dev_few_all.json")
    assert sorted(item.labels for item in items) == [(n,) for n in range(7)]
    assert items[2].fields["before"] == ""
    assert items[2].fields["after"] == "的农夫再也没有等到第二只兔子。"
    assert items[3].fields["after"] == ""
    assert all(item.fields["choices"][item.labels[0]] == item.fields["answer"] for item in items)


def test_dialogues_and_other_texts_are_one_set() -> None:
    folder = FIXTURES / "clue/c3"
    items = read("c3", folder / "c3-d-dev.json", folder / "c3-m-dev.json")
    assert Counter(item.group for item in items) == {"c3-d-dev": 4, "c3-m-dev": 4}
    assert {len(item.fields["choices"]) for item in items} == {2, 3, 4}
    assert items[1].id == "c3-d-dev.json#1-2/1"
    assert items[1].cluster == items[2].cluster != items[0].cluster
    assert items[0].fields["document"] == "女：这把伞是你的吗?\n男：不是，我的是蓝色的，这把是绿色的。"
    assert [item.labels for item in items] == [(0,), (1,), (0,), (2,), (2,), (0,), (1,), (1,)]


def test_every_different_answer_is_a_reference() -> None:
    items = read("squad_style", FIXTURES / "clue/cmrc2018/squad-style-data/cmrc2018_dev.json")
    assert items[0].references == ("1874年", "1874")
    assert items[1].references == ("何远山", "工程师何远山", "何远山（Ho Yuen-shan）")
    assert items[0].id == "cmrc2018_dev.json#DEV_0_QUERY_0"
    assert [item.cluster == items[0].cluster for item in items] == [True, True, True, False, False]
    assert items[2].fields["answers"] == ["博物馆", "一座博物馆"], "whatever answer_start says"


FAULTS = [
    ("clue", '{"sentence1": "a", "label": "0"}', r"line 1: 'sentence2' is missing"),
    ("clue", '{"sentence1": "a", "sentence2": "b"}', r"line 1: 'label' is missing"),
    ("clue", '{"sentence1": "a", "sentence2": "b", "label": 0}', r"line 1: 'label' is int"),
    ("clue", '{"sentence1": "a", "sentence2": "b", "label": "2"}', r"line 1: the label is '2'"),
    ("clue", '{"sentence1": "a", "sentence2": [], "label": "0"}', r"'sentence2' is no list of texts"),
    ("clue", '{"sentence1": "a", "sentence2": ["b", 3], "label": "0"}', r"'sentence2' is no list of texts"),
    ("clue", '{"sentence1": "a", "sentence2": "b", "label": "0"}\n{"sentence1": "a", "sen', r"line 2: .* not JSON"),
    ("cluewsc", '{"text": "他来了", "label": "true"}', r"'target' is missing"),
    (
        "cluewsc",
        '{"text": "她来了", "label": "true", "target": {"span1_text": "她", "span1_index": 0, "span2_text": "来", '
        '"span2_index": 2}}',
        r"span2_text '来' is not at character 2 of text",
    ),
    (
        "cluewsc",
        '{"text": "她来了", "label": true, "target": {"span1_text": "她", "span1_index": 0, "span2_text": "来", '
        '"span2_index": 1}}',
        r"'label' is bool",
    ),
    ("chid", '{"content": "没有空", "candidates": ["一", "二"], "answer": 0}', r"content holds 0 #idiom#"),
    ("chid", '{"content": "#idiom##idiom#", "candidates": ["一", "二"], "answer": 0}', r"content holds 2 #idiom#"),
    ("chid", '{"content": "#idiom#", "candidates": ["一", "二"], "answer": 2}', r"answer 2 is none of 2"),
    ("chid", '{"content": "#idiom#", "candidates": ["一"], "answer": 0}', r"there are 1 candidates"),
    ("c3", '{"document": []}', r"this is no list"),
    ("c3", '[[["a"], []]]', r"document 1: this is no list of three"),
    ("c3", '[[["a"], [], 7]]', r"document 1: its lines or its id"),
    (
        "c3",
        '[[["a"], [{"question": "q", "choice": ["x", "y"], "answer": "z"}], "1"]]',
        r"document 1, question 1: the answer 'z' is none of the options",
    ),
    ("c3", '[[["a"], [{"question": "q", "choice": ["x"], "answer": "x"}], "1"]]', r"there are 1 options"),
    ("c3", '[[["a"], [{"question": "q", "choice": ["x", "y"]}], "1"]]', r"'answer' is missing"),
    ("c3", '[[["a"], [', r"line 1: this is not JSON"),
    ("squad_style", '[{"context_text": "a", "qas": []}]', r"'data' is missing"),
    ("squad_style", '{"data": [{"title": "a"}]}', r"article 1: 'paragraphs' is missing"),
    (
        "squad_style",
        '{"data": [{"paragraphs": [{"context": "a", "qas": [{"id": "1", "question": "q", "answers": []}]}]}]}',
        r"article 1, paragraph 1, question 1: it has no answer",
    ),
    (
        "squad_style",
        '{"data": [{"paragraphs": [{"context": "a", "qas": [{"id": 1, "question": "q", "answers": []}]}]}]}',
        r"question 1: 'id' is int",
    ),
]


@pytest.mark.parametrize(("reader", "text", "told"), FAULTS)
def test_a_malformed_file_is_named_with_the_place(tmp_path: Path, reader: str, text: str, told: str) -> None:
    file = tmp_path / "dev.json"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=rf"dev\.json, .*{told}") as caught:
        read(reader, file, **(PAIR if reader == "clue" else {}))
    assert caught.value.next_step


TYPED = {"ａ": "a", "Ｂ": "b", "A": "a", "１": "1", "，": ",", "？": "?", " ": "", "\u3000": "", "\n": "", "ß": "ss"}


@given(st.text([*TYPED, *"ab1,卡。"]))
def test_folding_forgets_width_case_and_blanks(text: str) -> None:
    assert folded(text) == "".join(TYPED.get(c, c) for c in text)


def test_clusters_keep_texts_apart() -> None:
    assert cluster_of("ＳＩＭ 卡，", "a") == cluster_of("sim卡,", "A")
    assert cluster_of("ab", "c") != cluster_of("a", "bc")
    assert cluster_of("甲") != cluster_of("乙")
