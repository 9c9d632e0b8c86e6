"""Annotated corpora as records of one schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glm130b.config import MipDataset
from glm130b.errors import DataError
from glm130b.instructions.formats import find_format, read_structure
from glm130b.instructions.neutral import Argument, Entity, Frame, Record, Relation, Turn, spaced
from glm130b.instructions.tagged import bio_spans, words


def records(path: Path, **options: Any) -> list[Record]:
    return list(read_structure(MipDataset.model_validate({"path": str(path), "task": "ner", **options})))


def written(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return path


def told(record: Record) -> tuple[list[tuple[str, str]], list[tuple[str, str, str]]]:
    """Entities and relations in words."""
    names = [record.mention(entity) for entity in record.entities]
    relations = [(names[relation.head], relation.type, names[relation.tail]) for relation in record.relations]
    return [(name, entity.type) for name, entity in zip(names, record.entities, strict=True)], relations


CONLL04 = """\
#doc 1
0\tMs.\tB-Peop\t['N']\t[0]
1\tKoh\tI-Peop\t['Work_For', 'Live_In']\t[4, 6]
2\tof\tO\t['N']\t[2]
3\tNew\tB-Org\t['N']\t[3]
4\tACME\tI-Org\t['OrgBased_In']\t[6]
5\tin\tO\t['N']\t[5]
6\tOslo\tB-Loc\t['N']\t[6]
#doc 2
0\tRain\tO\t['N']\t[0]
"""


def test_conll04(tmp_path: Path) -> None:
    path = written(tmp_path / "train.txt", CONLL04)
    assert find_format(path, structured=True) == "conll04"
    first, second = records(path)
    assert first.text == "Ms. Koh of New ACME in Oslo"
    assert told(first) == (
        [("Ms. Koh", "person"), ("New ACME", "organization"), ("Oslo", "location")],
        [
            ("Ms. Koh", "works for", "New ACME"),
            ("Ms. Koh", "lives in", "Oslo"),
            ("New ACME", "organization based in", "Oslo"),
        ],
    )
    assert second == Record("Rain")


ADE = [
    ("DRUG-AE.rel", "7|Rash after drugA and drugB, rash again.|Rash|100|104|drugA|111|116"),
    ("DRUG-AE.rel", "7|Rash after drugA and drugB, rash again.|rash|128|132|drugB|121|126"),
    ("DRUG-AE.rel", "7|Rash after drugA and drugB, rash again.|Rash|100|104|drugA|111|116"),
    ("DRUG-AE.rel", "8|Rash after drugA and drugB, rash again.|rash|28|32|drugA|11|16"),
    ("DRUG-DOSE.rel", "9|drugA, drugA 5 mg was given.|5 mg|63|67|drugA|57|62"),
    ("ADE-NEG.txt", "9 NEG No effect | was seen with drugA."),
]


def test_ade(tmp_path: Path) -> None:
    for name in dict.fromkeys(name for name, _ in ADE):
        written(tmp_path / name, "".join(line + "\n" for other, line in ADE if other == name))
    assert find_format(tmp_path, structured=True) == "ade"
    first, second, third = records(tmp_path)
    assert told(first) == (
        [("Rash", "adverse effect"), ("drugA", "drug"), ("drugB", "drug"), ("rash", "adverse effect")],
        [("drugA", "has adverse effect", "Rash"), ("drugB", "has adverse effect", "rash")],
    )
    assert told(second)[1] == [("drugA", "has adverse effect", "rash")]
    assert second.text == first.text
    assert told(third)[1] == [("drugA", "has dose", "5 mg")]
    assert [entity.start for entity in third.entities] == [7, 13], "the second drugA, 50 characters into the abstract"
    assert records(tmp_path / "ADE-NEG.txt") == [Record("No effect | was seen with drugA.")]


GENIA = """\
IL\tB-protein\tB-DNA\tO
2\tI-protein\tI-DNA\tO
gene\tO\tI-DNA\tB-cell_type
on\tO\tO\tO

Off\tO\tO\tO
"""


def test_genia(tmp_path: Path) -> None:
    first, second = records(written(tmp_path / "a.iob2", GENIA))
    assert told(first)[0] == [("IL 2 gene", "DNA"), ("IL 2", "protein"), ("gene", "cell type")]
    assert second == Record("Off")


def conllu(*rows: tuple[str, int, str, str], arguments: list[str]) -> str:
    lines = ["# text = whatever", "1-2\tnot a token" + "\t_" * 12]
    for number, ((form, head, misc, sense), extra) in enumerate(zip(rows, arguments, strict=True), start=1):
        columns = [str(number), form, "_", "_", "_", "_", str(head), "_", "_", misc, sense, *extra.split()]
        lines.append("\t".join(columns))
    return "\n".join(lines) + "\n\n"


def test_propbank(tmp_path: Path) -> None:
    text = conllu(
        ("The", 2, "_", "_"),
        ("men", 3, "_", "_"),
        ("wanted", 0, "_", "want.01"),
        ("to", 5, "_", "_"),
        ("go", 3, "SpaceAfter=No", "go.02"),
        (".", 3, "_", "_"),
        arguments=["_ _", "ARG0 ARG0", "V _", "_ _", "ARG1 V", "_ _"],
    ) + conllu(
        ("those", 0, "_", "_"),
        ("who", 3, "_", "_"),
        ("came", 1, "_", "come.01"),
        arguments=["ARG0", "R-ARG0", "V"],
    )
    plain = "# text = x\n1\tx\t_\t_\t_\t_\t0\t_\t_\t_\t\t\n"
    first, second, third = records(written(tmp_path / "a.conllu", text + plain))
    assert first.text == "The men wanted to go."
    frames = [(first.mention(f), f.label, [(a.role, first.mention(a)) for a in f.arguments]) for f in first.predicates]
    assert frames == [
        ("wanted", "want.01", [("ARG0", "The men"), ("ARG1", "to go")]),
        ("go", "go.02", [("ARG0", "The men")]),
    ]
    (frame,) = second.predicates
    assert [second.mention(argument) for argument in frame.arguments] == ["those", "who"], "not the clause of came"
    assert third == Record("x")


def parsed(rows: list[str]) -> str:
    """A sentence in CoNLL-U, from rows of form, part of speech, head, relation, sense and one argument column."""
    lines = []
    for number, row in enumerate(rows, start=1):
        form, kind, head, relation, sense, role = row.split()
        lines.append("\t".join([str(number), form, "_", kind, "_", "_", head, relation, "_", "_", sense, role]))
    return "\n".join(lines) + "\n\n"


@pytest.mark.parametrize(
    ("rows", "spans"),
    [
        (
            "Most ADJ 6 nsubj _ ARG1/of ADP 3 case _ _/them PRON 1 nmod _ _/are AUX 7 cop be.01 V/of ADP 7 case _ _/"
            "high ADJ 7 amod _ _/quality NOUN 0 root _ ARG2/. PUNCT 7 punct _ _",
            {"ARG1": "Most of them", "ARG2": "of high quality"},
        ),
        (
            "They PRON 4 nsubj _ _/are AUX 4 cop _ _/among ADP 4 case _ _/people NOUN 0 root _ ARG0/"
            "from ADP 6 case _ _/Rome NOUN 4 nmod _ _/who PRON 8 nsubj _ R-ARG0/"
            "sing VERB 4 acl:relcl sing.01 V/well ADV 8 advmod _ ARGM-MNR",
            {"ARG0": "people from Rome", "R-ARG0": "who", "ARGM-MNR": "well"},
        ),
        (
            "And CCONJ 6 cc _ _/it PRON 6 nsubj _ ARG1/was AUX 6 cop be.01 V/, PUNCT 6 punct _ _/very ADV 6 advmod _ _/"
            "good ADJ 0 root _ ARG2/and CCONJ 8 cc _ _/cheap ADJ 6 conj _ _/and CCONJ 11 cc _ _/he PRON 11 nsubj _ _/"
            "left VERB 6 conj _ _",
            {"ARG1": "it", "ARG2": "very good and cheap"},
        ),
        (
            "I PRON 4 nsubj _ ARG1/am AUX 4 cop be.01 V/not PART 4 advmod _ ARGM-NEG/sad ADJ 0 root _ ARG2/"
            "about ADP 6 case _ _/it PRON 4 obl _ _/now ADV 4 advmod _ ARGM-TMP",
            {"ARG1": "I", "ARGM-NEG": "not", "ARG2": "sad about it", "ARGM-TMP": "now"},
        ),
        (
            "Take VERB 0 root _ ARGM-LVB/a DET 4 det _ _/quick ADJ 4 amod _ ARGM-ADJ/look NOUN 1 obj look.01 V",
            {"ARGM-LVB": "Take", "ARGM-ADJ": "quick"},
        ),
        ("Go VERB 0 root go.01 ARG1/on ADV 1 advmod _ _", {"ARG1": "Go"}),
    ],
)
def test_arguments_on_which_the_predicate_depends(tmp_path: Path, rows: str, spans: dict[str, str]) -> None:
    (record,) = records(written(tmp_path / "a.conllu", parsed(rows.split("/"))))
    (frame,) = record.predicates
    assert {argument.role: record.mention(argument) for argument in frame.arguments} == spans


def test_fewrel(tmp_path: Path) -> None:
    sentence = {"tokens": ["The", "Old", "Bridge", "over", "Po"], "h": ["b", "Q1", [[1, 2]]], "t": ["p", "Q2", [[4]]]}
    path = written(tmp_path / "val.json", json.dumps({"P177": [sentence]}))
    written(tmp_path / "pid2name.json", json.dumps({"P177": ["crosses", "what it crosses"]}))
    assert find_format(path, structured=True) == find_format(tmp_path, structured=True) == "fewrel"
    for place in (path, tmp_path):
        (record,) = records(place)
        assert told(record)[1] == [("Old Bridge", "crosses", "Po")]
    written(tmp_path / "pid2name.json", "{}")
    with pytest.raises(DataError, match=r"pid2name.json does not name P177"):
        records(path)
    (tmp_path / "pid2name.json").unlink()
    with pytest.raises(DataError, match=r"pid2name.json cannot be read"):
        records(path)


def test_snips(tmp_path: Path) -> None:
    written(tmp_path / "seq.in", "play  old song \nhi\n")
    written(tmp_path / "seq.out", "O B-music_item I-music_item \nO\n")
    written(tmp_path / "label", "PlayMusic\nSayHi\n")
    first, second = records(tmp_path)
    assert (first.text, told(first)[0], first.intent) == ("play old song", [("old song", "music item")], "play music")
    assert (second.text, second.intent) == ("hi", "say hi")
    written(tmp_path / "seq.out", "O B-music_item\nO\n")
    with pytest.raises(DataError, match=r"seq.out, line 1: 2 tags stand for 3 words"):
        records(tmp_path)
    written(tmp_path / "seq.out", "O O O\n")
    with pytest.raises(DataError, match="differ in their number of lines"):
        records(tmp_path)


def test_multiwoz(tmp_path: Path) -> None:
    def frame(slots: dict[str, list[str]]) -> dict[str, Any]:
        return {"service": "s", "state": {"active_intent": "NONE", "slot_values": slots}}

    turns = [
        {"speaker": "USER", "utterance": "A train.", "frames": [frame({"train-day": ["friday", "fri"]}), frame({})]},
        {"speaker": "SYSTEM", "utterance": "Where?", "frames": []},
        {"speaker": "USER", "utterance": "Thanks.", "frames": []},
    ]
    path = written(tmp_path / "train" / "dialogues_001.json", json.dumps([{"dialogue_id": "d", "turns": turns}]))
    written(tmp_path / "schema.json", "[]")
    expected = [
        Record(
            turns=(
                Turn("user", "A train.", {"train-day": ("friday", "fri")}),
                Turn("system", "Where?"),
                Turn("user", "Thanks.", {}),
            )
        )
    ]
    assert records(path) == records(tmp_path) == expected


def test_neutral(tmp_path: Path) -> None:
    in_characters = {
        "text": "He bombed it.",
        "entities": [{"start": 0, "end": 2, "type": "person"}],
        "relations": [{"head": 0, "type": "is", "tail": 0}],
        "events": [
            {"start": 3, "end": 9, "label": "Attack", "arguments": [{"start": 0, "end": 2, "role": "Attacker"}]}
        ],
    }
    in_tokens = {
        "tokens": ["He", "bombed", "it", "."],
        "entities": [{"start": 0, "end": 1, "type": "person"}],
        "events": [
            {"start": 1, "end": 2, "label": "Attack", "arguments": [{"start": 0, "end": 1, "role": "Attacker"}]}
        ],
    }
    dialogue = {"turns": [{"speaker": "user", "text": "Hi.", "state": {"day": ["friday"]}}]}
    lines = "\n".join(map(json.dumps, (in_characters, in_tokens, dialogue)))
    first, second, third = records(written(tmp_path / "a.jsonl", lines))
    attack = Frame(3, 9, "Attack", (Argument(0, 2, "Attacker"),))
    assert first == Record("He bombed it.", (Entity(0, 2, "person"),), (Relation(0, "is", 0),), events=(attack,))
    assert second == Record("He bombed it .", (Entity(0, 2, "person"),), events=(attack,))
    assert third == Record(turns=(Turn("user", "Hi.", {"day": ("friday",)}),))


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (
            {"text": "ab", "entities": [{"start": 0, "end": 3, "type": "t"}]},
            "the span 0 to 3 is not inside a text of 2",
        ),
        ({"text": "ab", "entities": [{"start": 1, "end": 1, "type": "t"}]}, "the span 1 to 1 is not inside"),
        ({"text": "ab", "events": [{"start": -1, "end": 1, "label": "t"}]}, "the span -1 to 1 is not inside"),
        ({"text": "ab", "relations": [{"head": 0, "type": "t", "tail": 0}]}, "a relation names entity 0 or 0"),
        ({"text": "ab", "entity": []}, "entity is not of the schema"),
        ({"text": 3}, "text is not of the schema"),
        ({"text": "a", "entities": [{"start": 0, "end": 1}]}, "entities.0.type is not of the schema"),
        ({"tokens": ["a"], "entities": [{"start": 0, "end": 2, "type": "t"}]}, "spans do not fit the tokens"),
        ({"tokens": ["a"], "entities": [{"type": "t"}]}, "spans do not fit the tokens"),
        ({"tokens": "abc"}, "tokens is no list of texts"),
        ({"tokens": ["a", 3]}, "tokens is no list of texts"),
        ({"tokens": None}, "tokens is no list of texts"),
    ],
)
def test_lines_that_are_not_of_the_schema(tmp_path: Path, line: dict[str, Any], problem: str) -> None:
    path = written(tmp_path / "a.jsonl", '{"text": "fine"}\n' + json.dumps(line))
    with pytest.raises(DataError) as caught:
        records(path)
    assert caught.value.problem.startswith(f"{path}, line 2: ")
    assert problem in caught.value.problem


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a.txt", CONLL04.replace("[4, 6]", "[4]"), "line 3: "),
        ("a.txt", CONLL04.replace("[4, 6]", "[4, 5]"), "line 3: the relation Live_In does not join the ends"),
        ("a.txt", CONLL04.replace("[4, 6]", "__import__('os')"), "line 3: "),
        ("a.txt", CONLL04.replace("B-Loc", "Loc"), "line 2: 'Loc' is not a tag"),
        ("a.txt", CONLL04.replace("\t['N']\t[5]", ""), "line 7: there are not the 5 columns"),
        ("DRUG-AE.rel", ADE[0][1] + "\n1|no pair|x|1|2|y|3|4\n", "line 2: this is not a pair"),
        ("DRUG-AE.rel", "1|a b|a|x|2|b|3|4\n", "line 1: this is not a pair"),
        ("ADE-NEG.txt", "9 POS text", "line 1: this is not of the form"),
        ("a.iob2", GENIA.replace("on\tO\tO\tO", "on\tO"), "line 1: the rows of a sentence"),
        ("a.iob2", "a\nb\n", "line 1: the rows of a sentence"),
        ("a.iob2", "a\tB-x\nb\tQ\n", "line 1: 'Q' is not a tag"),
        ("a.conllu", conllu(("a", 0, "_", "be.01"), arguments=["V V"]), "line 1: there is not one column"),
        ("a.conllu", conllu(("a", 0, "_", "be.01"), arguments=[""]), "line 1: there is not one column"),
        ("a.json", '{"P1": [{"tokens": ["a"], "h": 1}]}', "sentence 0 of P1 has not tokens, h and t"),
        ("dialogues_1.json", '[{"dialogue_id": 1, "turns": [{"speaker": "USER"}]}]', "dialogue 0 has not turns"),
    ],
)
def test_malformed_corpora(tmp_path: Path, name: str, content: str, problem: str) -> None:
    written(tmp_path / "pid2name.json", '{"P1": ["r"]}')
    path = written(tmp_path / name, content)
    with pytest.raises(DataError) as caught:
        records(path)
    assert str(path) in caught.value.problem
    assert problem in caught.value.problem


@given(st.lists(st.sampled_from(["O", "B-x", "I-x", "B-y", "I-y"]), max_size=12))
def test_spans_of_tags(tags: list[str]) -> None:
    kinds: list[list[str]] = []
    for number, tag in enumerate(tags):
        begins = tag != "O" and (tag[0] == "B" or number == 0 or tags[number - 1][1:] != tag[1:])
        kinds.append([tag[2:]] if begins else kinds[-1] if tag != "O" else [])
    expected = [
        (number, max(k for k, other in enumerate(kinds) if other is kind), kind[0])
        for number, kind in enumerate(kinds)
        if kind and (number == 0 or kinds[number - 1] is not kind)
    ]
    assert bio_spans(tags) == expected


@given(st.lists(st.tuples(st.text(min_size=1, max_size=4), st.booleans()), min_size=1, max_size=8), st.data())
def test_spaced(tokens: list[tuple[str, bool]], data: st.DataObject) -> None:
    plain, glued = [token for token, _ in tokens], [glue for _, glue in tokens]
    text = spaced(plain, glued)
    first = data.draw(st.integers(0, len(tokens) - 1))
    last = data.draw(st.integers(first, len(tokens) - 1))
    start, end = text.span(first, last)
    expected = "".join(token + ("" if glue else " ") for token, glue in tokens[first:last]) + plain[last]
    assert text.text[start:end] == expected
    assert spaced(plain).text == " ".join(plain)


@pytest.mark.parametrize(
    ("label", "expected"),
    [("cell_type", "cell type"), ("AddToPlaylist", "add to playlist"), ("DNA", "DNA"), ("ARG0", "ARG0")],
)
def test_labels_as_words(label: str, expected: str) -> None:
    assert words(label) == expected
