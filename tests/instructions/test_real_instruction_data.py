"""The official files, where they lie beside the project, against counts made the slow way."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from real_data import REAL, needs_real

from glm130b.config import MipConfig, MipDataset
from glm130b.instructions import InstructionStore, build, check_recipe, parse_triples
from glm130b.instructions.formats import find_format, read_fields, read_structure
from glm130b.instructions.neutral import Record, check
from glm130b.instructions.prompts import load_prompts, template_folders
from glm130b.instructions.render import Renderer
from glm130b.instructions.tasks import VIEWS
from glm130b.tokenization import Tokenizer

DATA = REAL / "mip"
TEMPLATES = DATA / "promptsource" / "templates"

pytestmark = [pytest.mark.slow, needs_real]


def records(name: str) -> list[Record]:
    found = list(read_structure(MipDataset.model_validate({"path": str(DATA / name), "task": "ner"})))
    for record in found:
        check(record)
    return found


def fields(name: str) -> list[dict[str, Any]]:
    return list(read_fields(MipDataset.model_validate({"path": str(DATA / name), "templates": "t"})))


def content(name: str) -> str:
    return "".join(path.read_text() for path in sorted(DATA.glob(name)))


def test_every_template_compiles() -> None:
    renderer = Renderer()
    prompts = [prompt for folder in template_folders(TEMPLATES) for prompt in load_prompts(TEMPLATES, folder)]
    assert len(prompts) == len(re.findall(r"^    jinja: ", content("promptsource/templates/**/templates.yaml"), re.M))
    for prompt in prompts:
        renderer.compile(prompt)
    assert all(prompt.languages and prompt.original_task is not None for prompt in prompts)


@pytest.mark.parametrize("part", ["train", "dev"])
def test_conll04(part: str) -> None:
    text, found = content(f"conll04/{part}.txt"), records(f"conll04/{part}.txt")
    assert len(found) == len(re.findall(r"^#doc", text, re.M))
    tags = " ".join(line.split("\t")[2] if "\t" in line else "O" for line in text.splitlines())
    assert sum(len(record.entities) for record in found) == tags.count("B-") + tags.count("O I-")
    names = re.findall(r"'(?!N')\w+'", text)
    assert sum(len(record.relations) for record in found) == len(names)
    assert sum(r.type == "kills" for record in found for r in record.relations) == names.count("'Kill'")


def test_ade() -> None:
    lines = [line.split("|") for line in content("ade/*.rel").splitlines()]
    found = records("ade")
    assert len(found) == len({(line[0], line[1]) for line in lines})
    told = {
        (record.text, record.mention(record.entities[r.head]), r.type, record.mention(record.entities[r.tail]))
        for record in found
        for r in record.relations
    }
    kinds = {"DRUG-AE.rel": "has adverse effect", "DRUG-DOSE.rel": "has dose"}
    wanted = {
        (line[1], line[5], kind, line[2])
        for name, kind in kinds.items()
        for line in (raw.split("|") for raw in content(f"ade/{name}").splitlines())
    }
    assert told == wanted
    assert sum(len(record.relations) for record in found) == len({tuple(line) for line in lines})
    assert len(records("ade/ADE-NEG.txt")) == len(set(content("ade/ADE-NEG.txt").splitlines()))


def test_genia() -> None:
    text, found = content("genia/*.iob2"), records("genia")
    assert len(found) == len(re.findall(r"\n\n+(?=\S)", text)) + 1
    spans = set()
    for block, sentence in enumerate(re.split(r"\n\n+", text.strip())):
        columns = list(zip(*(line.split("\t") for line in sentence.split("\n")), strict=True))
        for column in columns[1:]:
            tags = " ".join(column)
            for match in re.finditer(r"B-(\S+)(?: I-\1)*", tags):
                first = tags[: match.start()].count(" ")
                spans.add((block, first, first + match[0].count(" "), match[1]))
    assert sum(len(record.entities) for record in found) == len(spans)


def test_propbank() -> None:
    text, found = content("propbank/*.conllu"), records("propbank")
    assert len(found) == len(re.findall(r"^# text = ", text, re.M))
    assert [record.text for record in found] == [line.strip() for line in re.findall(r"^# text = (.*)$", text, re.M)]
    rows = [line.split("\t") for line in text.splitlines() if "\t" in line]
    frames = [frame for record in found for frame in record.predicates]
    assert len(frames) == sum(len(row) > 10 and "." in row[10] for row in rows)
    marks = [mark for row in rows for mark in row[11:] if mark not in ("_", "V", "")]
    assert sum(len(frame.arguments) for frame in frames) == len(marks)
    forms = {(row[1], row[10]) for row in rows if len(row) > 10}
    assert {(record.mention(f), f.label) for record in found for f in record.predicates} <= forms
    (quality,) = [r for r in found if r.text == "Most of them are of high quality."]
    assert quality.mention(quality.predicates[0].arguments[1]) == "of high quality"


def test_fewrel() -> None:
    tree = json.loads((DATA / "fewrel" / "val_wiki.json").read_text())
    names = json.loads((DATA / "fewrel" / "pid2name.json").read_text())
    found = records("fewrel/val_wiki.json")
    assert [record.relations[0].type for record in found] == [names[pid][0] for pid in tree for _ in tree[pid]]
    for record, sentence in zip(found, (one for group in tree.values() for one in group), strict=True):
        head = record.mention(record.entities[record.relations[0].head])
        assert head.lower().replace(" ", "") == sentence["h"][0].lower().replace(" ", "")


def test_snips() -> None:
    found = records("snips/valid")
    assert len(found) == len(content("snips/valid/label").splitlines())
    assert sum(len(record.entities) for record in found) == content("snips/valid/seq.out").count("B-")
    assert len({record.intent for record in found}) == len(set(content("snips/valid/label").split()))


def test_multiwoz() -> None:
    text = content("multiwoz_2.2/*/dialogues_*.json")
    views = [view for record in records("multiwoz_2.2") for view in VIEWS["dialogue_state"](record)]
    assert len(views) == text.count('"USER"')
    assert sum(len(view["gold"]) for view in views) == len(re.findall(r'"\w+-\w+": \["', text))
    assert [("user", "train-departure", "norwich") in parse_triples(view["answer"]) for view in views].count(True) == 1


def test_question_sets() -> None:
    assert [find_format(DATA / path, structured=False) for path in ("dream/dev.json", "qasc/dev.jsonl")] == [
        "dream",
        "qasc",
    ]
    assert len(fields("dream/dev.json")) == content("dream/dev.json").count('"answer": ')
    assert len(fields("qasc/dev.jsonl")) == len(content("qasc/dev.jsonl").splitlines())
    assert [record["label"] for record in fields("piqa/valid.jsonl")] == list(map(int, content("piqa/*.lst").split()))


@pytest.fixture(scope="module")
def recipe() -> Callable[..., MipConfig]:
    datasets = {
        "piqa": {"path": "piqa/valid.jsonl", "templates": "piqa"},
        "dream": {"path": "dream/dev.json", "templates": "dream"},
        "qasc": {"path": "qasc/dev.jsonl", "templates": "qasc"},
        "conll04": {"path": "conll04/dev.txt", "task": ["joint", "ner", "typing", "relation"]},
        "snips": {"path": "snips/valid", "task": ["slot_filling", "intent"]},
        "multiwoz": {"path": "multiwoz_2.2", "task": "dialogue_state"},
    }
    for entry in datasets.values():
        entry["path"] = str(DATA / str(entry["path"]))
    return lambda **changes: MipConfig.model_validate({"templates": str(TEMPLATES), "datasets": datasets, **changes})


def test_a_store_of_them(recipe: Callable[..., MipConfig], tmp_path: Path) -> None:
    manifest = build(recipe(cap=60), tmp_path / "out")
    for name, entry in manifest["datasets"].items():
        for prompt in entry["prompts"]:
            assert prompt["failed"] == 0, (name, prompt)
            assert prompt["written"] == prompt["planned"] - prompt["not_applicable"]
    store, tokenizer = InstructionStore(tmp_path / "out"), Tokenizer.load()
    goals = {record["goal"].strip() for record in fields("piqa/valid.jsonl")}
    for index in store.examples_of("piqa"):
        text = tokenizer.decode(store.example(index).input)
        assert any(goal in text for goal in goals)


def test_nothing_is_wrong_with_them(recipe: Callable[..., MipConfig]) -> None:
    assert [finding for finding in check_recipe(recipe(), records=5) if finding.level == "error"] == []
