"""A small corpus built whole: what becomes of each document, and that nothing else matters."""

from __future__ import annotations

import gzip
import json
import random
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from glm130b.config import BuildConfig
from glm130b.corpus import TokenShard, build, read_ledger, verify
from glm130b.corpus.contamination import EvaluationIndex
from glm130b.corpus.job import Stage, open_job
from glm130b.corpus.stages import run_task
from glm130b.errors import DataError, ResourceError
from glm130b.files import partial_path
from glm130b.tokenization import Tokenizer

pytestmark = pytest.mark.slow

TEXT = """the of and to in is was for that with house river morning people small green walk open letter garden winter
stone music answer window bread paper silver yellow mountain captain minister question bridge market"""
WORDS = TEXT.split()
HAN = "的一是在不了有和人这中大为上个国我以要他时来用们生到作地于出就分对成会可主发年动同工也能下过子说产种面而方后多"

Line = dict[str, Any]


def english(seed: int, words: int = 60) -> str:
    chosen = random.Random(seed).choices(WORDS, k=words)
    return " ".join(f"{word.capitalize()}." if n % 12 == 11 else word for n, word in enumerate(chosen))


def chinese(seed: int, characters: int = 80) -> str:
    chosen = random.Random(seed).choices(HAN, k=characters)
    return "".join(f"{character}。" if n % 20 == 19 else character for n, character in enumerate(chosen))


def line(document_id: str, text: str, **more: str) -> bytes:
    return json.dumps({"id": document_id, "text": text, **more}, ensure_ascii=False).encode() + b"\n"


def one_word_less(text: str) -> str:
    return " ".join(text.split()[:-1])


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sources with everything that can happen to a document, and one that is held out."""
    folder = tmp_path_factory.mktemp("inputs") / "in"
    (folder / "web").mkdir(parents=True)
    test_item = english(500, 30)
    (folder / "tests").mkdir()
    (folder / "tests" / "quiz.jsonl").write_text(json.dumps({"question": test_item, "answer": "bread"}) + "\n")
    first = [
        *(line(f"w{n}", english(n), lang="en", license="CC0") for n in range(30)),
        b'{"id": "broken", "text": "\xff\xfe"}\n',
        b"no JSON\n",
        b"\n",
        line("empty", ""),
        line("blank", " \u200b\n"),
        line("long", english(700, 3000)),
        line("french", "Le petit chat est sur la table et il ne veut pas descendre. " * 5),
        line("mash", "asdf jkl; qwer uiop zxcv nm,. " * 30, lang="en"),
        line("exact of w3", english(3).upper(), lang="en"),
        line("near w4", one_word_less(english(4, 60)), lang="en"),
        line("contaminated", f"{english(600)} {test_item} {english(601)}", lang="en"),
    ]
    (folder / "web" / "a.jsonl").write_bytes(b"".join(first))
    second = [line(f"z{n}", chinese(n), lang="zh") for n in range(30)]
    second += [
        line("exact of z5", chinese(5), lang="zh"),
        line("unlabelled", chinese(99)),
        line("near w5", english(5) + " more"),
    ]
    (folder / "web" / "b.jsonl.gz").write_bytes(gzip.compress(b"".join(second)))
    (folder / "note.txt").write_text(english(800))
    kept_out = [line(f"h{n}", english(900 + n), lang="en") for n in range(5)] + [line("twice", english(6), lang="en")]
    (folder / "kept.jsonl").write_bytes(b"".join(kept_out))
    return folder


def records(out: Path) -> list[Line]:
    with gzip.open(out / "documents.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [json.loads(text) for text in lines]


def tree(folder: Path) -> dict[str, bytes]:
    """Every file that does not say where the folder lies."""
    other = ("sources.yaml", "SHA256SUMS")
    files = [path for path in folder.rglob("*") if path.is_file() and path.name not in other]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def recipe(folder: Path, **changes: Any) -> BuildConfig:
    settings: dict[str, Any] = {
        "sources": {
            "web": {"path": str(folder / "web"), "license": "as the site says"},
            "notes": {"path": str(folder / "note.txt"), "heldout": 0},
            "kept": {"path": str(folder / "kept.jsonl"), "heldout": 1},
        },
        "heldout": 0.2,
        "max_document_bytes": 8000,
        "part_bytes": 5000,
        "contamination": {"against": str(folder / "tests")},
    }
    return BuildConfig.model_validate({**settings, **changes})


@pytest.fixture(scope="module")
def built(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The usual corpus; not to be changed."""
    out = tmp_path_factory.mktemp("built") / "corpus"
    ledger = build(recipe(inputs), out, workers=1)
    assert not partial_path(out).exists()
    assert read_ledger(out) == ledger
    return out


@pytest.fixture
def own_inputs(inputs: Path, tmp_path: Path) -> Path:
    """A copy of the inputs that may be spoilt."""
    return Path(shutil.copytree(inputs, tmp_path / "in"))


FATES = {
    "broken": ("read", "not UTF-8"),
    "empty": ("read", "empty"),
    "blank": ("normalise", "empty"),
    "long": ("read", "too long"),
    "french": ("language", "language: fr"),
    "exact of w3": ("exact", "exact duplicate"),
    "exact of z5": ("exact", "exact duplicate"),
    "near w4": ("near", "near duplicate"),
    "near w5": ("near", "near duplicate"),
    "twice": ("exact", "exact duplicate"),
    "contaminated": ("contamination", "contaminated"),
}
WITNESSES = {"exact of w3": "w3", "exact of z5": "z5", "near w4": "w4", "near w5": "w5", "twice": "w6"}


def test_every_document_meets_its_fate(built: Path) -> None:
    lines = records(built)
    fate = {entry["id"]: (entry.get("stage"), entry.get("reason")) for entry in lines}
    unnamed = [entry for entry in lines if entry.get("reason") in ("not UTF-8", "too long", "not a document")]
    assert Counter(entry["reason"] for entry in unnamed) == {"not UTF-8": 1, "too long": 1, "not a document": 1}
    assert {name: fate[name] for name in FATES if name in fate} == {n: f for n, f in FATES.items() if n in fate}
    assert set(FATES) - set(fate) <= {"broken", "long"}
    assert fate["mash"][0] == "quality"
    good = {*(f"w{n}" for n in range(30)), *(f"z{n}" for n in range(30)), "unlabelled", *(f"h{n}" for n in range(5))}
    kept = {entry["id"] for entry in lines if entry["outcome"] != "dropped"}
    assert kept == good | {"note.txt"}
    assert {entry["id"]: entry["witness"]["id"] for entry in lines if "witness" in entry} == WITNESSES
    assert verify(built) == []


def test_the_shards_hold_what_was_kept(built: Path, tokenizer: Tokenizer) -> None:
    out = built
    texts = {f"w{n}": english(n) for n in range(30)} | {f"z{n}": chinese(n) for n in range(30)}
    texts |= {"unlabelled": chinese(99), "note.txt": english(800)} | {f"h{n}": english(900 + n) for n in range(5)}
    shards: dict[str, TokenShard] = {}
    seen = set()
    for entry in records(out):
        if entry["outcome"] == "dropped":
            continue
        prefix = f"{entry['source']}.{entry['language']}/{entry['outcome']}-{entry['part']:05d}"
        shard = shards.setdefault(prefix, TokenShard(out / prefix))
        start = int(shard.lengths[: entry["row"]].sum())
        ids = shard.tokens[start : start + shard.lengths[entry["row"]]].tolist()
        assert ids == [*tokenizer.encode(texts[entry["id"]]), tokenizer.special.eod]
        assert (entry["tokens"], entry["bytes"]) == (len(ids), len(texts[entry["id"]].encode()))
        seen.add((prefix, entry["row"]))
    assert seen == {(prefix, row) for prefix, shard in shards.items() for row in range(len(shard.lengths))}
    assert {str(path.relative_to(out))[:-4] for path in out.rglob("*.bin")} == set(shards)
    assert {prefix.split("-")[0] for prefix in shards if prefix.startswith("kept")} == {"kept.en/heldout"}


def assert_stages_add_up(row: Line) -> None:
    """What comes into a stage was dropped there, changed away or goes out."""
    for stage in row["stages"]:
        for name in ("documents", "bytes", "tokens"):
            dropped = sum(counts[name] for counts in stage["dropped"].values())
            changed = 0 if name == "documents" else stage[f"changed_{name}"]
            assert stage["in"][name] - dropped - changed == stage["out"][name], (stage["stage"], name)


def test_the_ledger_equals_a_recount(built: Path) -> None:
    ledger, lines = read_ledger(built), records(built)
    assert ledger["total"]["stages"][0]["in"]["documents"] == len(lines)
    for row in ledger["sources"]:
        mine = [x for x in lines if (x["source"], x["language"]) == (row["source"], row["language"])]
        for split in ("train", "heldout"):
            kept = [entry for entry in mine if entry["outcome"] == split]
            assert row[split] == {
                "documents": len(kept),
                "bytes": sum(entry["bytes"] for entry in kept),
                "tokens": sum(entry["tokens"] for entry in kept),
            }
        dropped = Counter((entry["stage"], entry["reason"]) for entry in mine if entry["outcome"] == "dropped")
        found = {(s["stage"], reason): c["documents"] for s in row["stages"] for reason, c in s["dropped"].items()}
        assert found == dropped
    tokens = sum(TokenShard(path.with_suffix("")).num_tokens for path in built.rglob("*.bin"))
    assert tokens == ledger["total"]["train"]["tokens"] + ledger["total"]["heldout"]["tokens"]
    kept = Counter(entry["license"] for entry in lines if entry["outcome"] != "dropped")
    licenses = {(row["source"], row["license"]): row["documents"] for row in ledger["licenses"]}
    assert licenses == Counter((x["source"], x["license"]) for x in lines if x["outcome"] != "dropped")
    assert kept == {"CC0": 30, "as the site says": 31, "": 6}
    for row in [ledger["total"], *ledger["sources"]]:
        assert_stages_add_up(row)
    samples = {sample["id"]: sample for row in ledger["samples"] for sample in row["samples"]}
    assert samples["near w4"]["witness"] == {"id": "w4", "excerpt": samples["near w4"]["witness"]["excerpt"]}
    assert samples["near w4"]["witness"]["excerpt"].startswith(english(4)[:80])
    assert samples["contaminated"]["item"].startswith("tests, quiz.jsonl")


@pytest.mark.slow
@pytest.mark.parametrize("part_bytes", [1500, 10**9])
def test_what_is_kept_does_not_depend_on_the_parts(tmp_path: Path, inputs: Path, built: Path, part_bytes: int) -> None:
    def fates(out: Path) -> list[tuple[Any, ...]]:
        shown = ("id", "outcome", "reason", "tokens")
        return [(*map(entry.get, shown), entry.get("witness", {}).get("id")) for entry in records(out)]

    build(recipe(inputs, part_bytes=part_bytes), tmp_path / "other", workers=1)
    assert fates(tmp_path / "other") == fates(built)


def test_a_cut_document_keeps_the_rest(tmp_path: Path, inputs: Path, tokenizer: Tokenizer) -> None:
    settings = {"against": str(inputs / "tests"), "action": "drop-span", "max_cut": 0.9}
    ledger = build(recipe(inputs, contamination=settings), tmp_path / "cut", workers=1)
    (entry,) = (entry for entry in records(tmp_path / "cut") if entry["id"] == "contaminated")
    assert entry["outcome"] in ("train", "heldout")
    shard = TokenShard(tmp_path / "cut" / f"web.en/{entry['outcome']}-{entry['part']:05d}")
    start = int(shard.lengths[: entry["row"]].sum())
    text = tokenizer.decode(shard.tokens[start : start + entry["tokens"] - 1].tolist())
    assert text.startswith(english(600)[:50])
    assert english(500, 30)[40:120] not in text
    assert entry["bytes"] == len(text.encode())
    assert_stages_add_up(ledger["total"])
    last = ledger["total"]["stages"][-1]
    assert last["changed_tokens"] == last["in"]["tokens"] - last["out"]["tokens"] > 0
    assert last["in"]["documents"] == last["out"]["documents"]
    assert last["in"]["bytes"] > last["out"]["bytes"]
    (hit,) = map(json.loads, (tmp_path / "cut" / "contamination.jsonl").read_text().splitlines())
    assert (hit["document"], hit["action"]) == ("contaminated", "cut")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("action", "max_cut", "recorded"), [("drop-span", 0.1, "dropped document"), ("log", 0.5, "logged")]
)
def test_other_actions(tmp_path: Path, inputs: Path, action: str, max_cut: float, recorded: str) -> None:
    settings = {"against": str(inputs / "tests"), "action": action, "max_cut": max_cut}
    build(recipe(inputs, contamination=settings), tmp_path / "corpus", workers=1)
    (entry,) = (entry for entry in records(tmp_path / "corpus") if entry["id"] == "contaminated")
    assert (entry["outcome"] == "dropped") == (recorded == "dropped document")
    (hit,) = map(json.loads, (tmp_path / "corpus" / "contamination.jsonl").read_text().splitlines())
    assert hit["action"] == recorded


@pytest.mark.slow
def test_everything_can_be_turned_off(tmp_path: Path, inputs: Path) -> None:
    filters = {"en": {"enabled": False}, "zh": {"enabled": False}}
    off = recipe(inputs, filters=filters, duplicates={"exact": False, "near": False}, contamination={})
    ledger = build(off, tmp_path / "corpus", workers=1)
    assert {entry.get("stage") for entry in records(tmp_path / "corpus")} == {None, "read", "normalise", "language"}
    assert (tmp_path / "corpus" / "contamination.jsonl").read_bytes() == b""
    assert ledger["contamination"]["action"] == "none"


class Break:
    """A reporter that fails at the nth thing it is told, as a signal would."""

    def __init__(self, after: int) -> None:
        self.left = after

    def _tick(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt

    def note(self, text: str) -> None:
        self._tick()

    def begin(self, stage: Stage, num_tasks: int, total_bytes: int, done_bytes: int) -> None:
        self._tick()

    def advance(self, documents: int, num_bytes: int) -> None:
        self._tick()


@pytest.mark.slow
def test_interrupted_anywhere_it_goes_on(tmp_path: Path, inputs: Path, built: Path) -> None:
    out = tmp_path / "corpus"
    breaks = 0
    for step in (0, *range(25, 400, 17)):
        try:
            build(recipe(inputs), out, workers=1, reporter=Break(step))
        except KeyboardInterrupt:
            breaks += 1
            assert not out.exists()
        else:
            break
    assert breaks >= 3
    assert tree(out) == tree(built)
    assert not partial_path(out).exists()


def kill_at(patch: pytest.MonkeyPatch, module: str, function: str) -> None:
    """End as a kill would where a function of a file of this room is called."""

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    patch.setattr(sys.modules[f"glm130b.corpus.{module}"], function, killed)


def interrupted(settings: BuildConfig, out: Path, after: int = 60) -> None:
    with pytest.raises(KeyboardInterrupt):
        build(settings, out, workers=1, reporter=Break(after))
    assert list((partial_path(out) / "clean").glob("[0-9]*"))


@pytest.mark.slow
def test_another_recipe_does_not_go_on(tmp_path: Path, inputs: Path) -> None:
    out = tmp_path / "corpus"
    interrupted(recipe(inputs), out)
    with pytest.raises(
        DataError, match=r"unfinished build of corpus, and the recipe has another duplicates\.bands"
    ) as told:
        build(recipe(inputs, duplicates={"bands": 7}), out, workers=1)
    assert str(partial_path(out)) in str(told.value)
    build(recipe(inputs), out, workers=1)


@pytest.mark.parametrize(
    ("key", "words"), [("versions", "the version of numpy has changed"), ("program", "the program itself has changed")]
)
def test_another_program_does_not_go_on(tmp_path: Path, inputs: Path, key: str, words: str) -> None:
    out = tmp_path / "corpus"
    interrupted(recipe(inputs), out)
    job = partial_path(out) / "job.json"
    facts = json.loads(job.read_text())
    facts[key] = {**facts["versions"], "numpy": "0.1"} if key == "versions" else "0"
    job.write_text(json.dumps(facts))
    with pytest.raises(DataError, match=words):
        build(recipe(inputs), out, workers=1)


@pytest.mark.slow
def test_a_changed_input_does_not_go_on(tmp_path: Path, own_inputs: Path) -> None:
    out = tmp_path / "corpus"
    interrupted(recipe(own_inputs), out, 150)
    with (own_inputs / "web" / "b.jsonl.gz").open("ab") as file:
        file.write(gzip.compress(line("later", english(77))))
    with pytest.raises(DataError, match=r"b\.jsonl\.gz has changed"):
        build(recipe(own_inputs), out, workers=1)
    (own_inputs / "tests" / "more.jsonl").write_text('{"question": "x"}\n')
    with pytest.raises(DataError, match=r"more\.jsonl has changed"):
        build(recipe(own_inputs), out, workers=1)


@pytest.mark.slow
def test_a_damaged_file_is_named_and_can_be_mended(tmp_path: Path, own_inputs: Path) -> None:
    out, path = tmp_path / "corpus", own_inputs / "web" / "b.jsonl.gz"
    whole = path.read_bytes()
    path.write_bytes(whole[:-200])
    with pytest.raises(DataError, match=r"b\.jsonl\.gz") as told:
        build(recipe(own_inputs, part_bytes=3000), out, workers=1)
    assert "What was finished is kept" in told.value.next_step or not partial_path(out).exists()
    path.write_bytes(whole)
    build(recipe(own_inputs, part_bytes=3000), out, workers=1)
    build(recipe(own_inputs, part_bytes=3000), tmp_path / "other", workers=1)
    assert tree(out) == tree(tmp_path / "other")


@pytest.mark.slow
def test_the_remains_of_a_corpus_are_not_taken_for_work(
    tmp_path: Path, inputs: Path, built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after the corpus was whole, which somebody then takes away: nothing is made of what is left."""
    out = tmp_path / "corpus"
    with monkeypatch.context() as patch:
        kill_at(patch, "job", "_remove_results")
        with pytest.raises(KeyboardInterrupt):
            build(recipe(inputs), out, workers=1)
    shutil.rmtree(out)
    shutil.rmtree(partial_path(out) / "clean" / "00000")
    build(recipe(inputs), out, workers=1)
    assert tree(out) == tree(built)
    with monkeypatch.context() as patch:
        kill_at(patch, "build", "discard")
        with pytest.raises(KeyboardInterrupt):
            build(recipe(inputs), tmp_path / "other", workers=1)
    shutil.rmtree(tmp_path / "other")
    with pytest.raises(DataError, match=r"\.bin is missing"):
        build(recipe(inputs), tmp_path / "other", workers=1)


def test_a_first_fault_leaves_nothing(tmp_path: Path, own_inputs: Path) -> None:
    (own_inputs / "web" / "a.jsonl").unlink()
    (own_inputs / "web" / "b.jsonl.gz").write_bytes(b"no gzip")
    with pytest.raises(DataError, match=r"b\.jsonl\.gz"):
        build(recipe(own_inputs, sources={"web": {"path": str(own_inputs / "web")}}), tmp_path / "corpus", workers=1)
    assert {path.name for path in tmp_path.iterdir()} == {"in"}


@pytest.mark.slow
def test_what_exists_is_not_overwritten(tmp_path: Path, inputs: Path) -> None:
    out = tmp_path / "corpus"
    interrupted(recipe(inputs), out)
    out.mkdir()
    with pytest.raises(DataError, match="exists already"):
        build(recipe(inputs), out, workers=1)
    assert partial_path(out).exists()
    out.rmdir()
    build(recipe(inputs), out, workers=1)


@pytest.mark.slow
@pytest.mark.parametrize("place", [("build", "discard"), ("job", "_remove_results")], ids=["at once", "while tidying"])
def test_killed_after_the_end(
    tmp_path: Path, own_inputs: Path, monkeypatch: pytest.MonkeyPatch, place: tuple[str, str]
) -> None:
    """The corpus has its name already: the same build ends well, another one is refused and touches nothing."""
    out = tmp_path / "corpus"

    with monkeypatch.context() as patch:
        kill_at(patch, *place)
        with pytest.raises(KeyboardInterrupt):
            build(recipe(own_inputs), out, workers=1)
    assert out.exists()
    left = sorted(partial_path(out).rglob("*"))
    for other in (recipe(own_inputs, heldout=0.1), recipe(own_inputs, sources={"web": {"path": str(own_inputs)}})):
        with pytest.raises(DataError, match="exists already"):
            build(other, out, workers=1)
    assert sorted(partial_path(out).rglob("*")) == left
    assert build(recipe(own_inputs), out, workers=1) == read_ledger(out)
    assert not partial_path(out).exists()
    assert verify(out) == []
    with pytest.raises(DataError, match="exists already"):
        build(recipe(own_inputs), out, workers=1)


def test_a_disk_that_is_too_small(tmp_path: Path, inputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage._replace(free=10))
    with pytest.raises(ResourceError, match="a corpus of about"):
        build(recipe(inputs), tmp_path / "corpus", workers=1)
    assert not partial_path(tmp_path / "corpus").exists()


class Change(Break):
    """A reporter that changes something once the documents of a stage are read."""

    def __init__(self, change: Callable[[], object], during: str) -> None:
        super().__init__(10**9)
        self._change, self._during, self._stage = change, during, ""

    def note(self, text: str) -> None:
        self._stage = text

    def begin(self, stage: Stage, num_tasks: int, total_bytes: int, done_bytes: int) -> None:
        self._stage = stage

    def advance(self, documents: int, num_bytes: int) -> None:
        if self._stage == self._during:
            self._stage = ""
            self._change()


def test_an_input_that_changes_while_it_is_read_is_named(tmp_path: Path, own_inputs: Path) -> None:
    out, path = tmp_path / "corpus", own_inputs / "web" / "a.jsonl"
    whole = path.read_bytes()
    grow = Change(lambda: path.write_bytes(whole + line("later", english(78))), "clean")
    with pytest.raises(DataError, match=r"a\.jsonl has changed while the corpus was being built") as told:
        build(recipe(own_inputs, part_bytes=10**6), out, workers=1, reporter=grow)
    assert "same command" in told.value.next_step
    build(recipe(own_inputs, part_bytes=10**6), out, workers=1)
    assert "later" in {entry["id"] for entry in records(out)}


def test_an_input_that_changed_before_it_is_read_is_named(tmp_path: Path, own_inputs: Path) -> None:
    path = own_inputs / "kept.jsonl"
    swap = Change(lambda: path.write_bytes(path.read_bytes().replace(b'"h0"', b'"g0"')), "clean")
    with pytest.raises(DataError, match=r"kept\.jsonl has changed"):
        build(recipe(own_inputs), tmp_path / "corpus", workers=1, reporter=swap)


@pytest.mark.slow
def test_a_test_set_that_changes_while_it_is_indexed_is_named(
    tmp_path: Path, own_inputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = EvaluationIndex.build

    def slow(*arguments: Any, **more: Any) -> EvaluationIndex:
        (own_inputs / "tests" / "more.jsonl").write_text('{"question": "x"}\n')
        return make(*arguments, **more)

    with monkeypatch.context() as patch:
        patch.setattr(EvaluationIndex, "build", slow)
        with pytest.raises(DataError, match=r"more\.jsonl has changed while the corpus was being built"):
            build(recipe(own_inputs), tmp_path / "corpus", workers=1)
    build(recipe(own_inputs), tmp_path / "corpus", workers=1)


@pytest.mark.slow
def test_a_corpus_inside_its_own_input(tmp_path: Path, own_inputs: Path) -> None:
    """Neither what is unfinished nor what is whole is read; a whole corpus is named."""
    settings = recipe(own_inputs, sources={"web": {"path": str(own_inputs)}})
    first, second = own_inputs / "web" / "one", own_inputs / "two"
    interrupted(settings, first, 150)
    build(settings, first, workers=1)
    (own_inputs / "web" / ".partial-x.jsonl").write_text("not yet whole")
    build(settings, second, workers=1)
    assert read_ledger(second)["inputs"] == read_ledger(first)["inputs"]
    left_out = [Path(path).relative_to(own_inputs) for path in read_ledger(second)["inputs_left_out"]]
    assert left_out == [Path("web/one")]
    with pytest.raises(DataError, match="one holds a built corpus, not documents"):
        build(recipe(own_inputs, sources={"web": {"path": str(first)}}), tmp_path / "corpus", workers=1)


def test_many_licences_and_labels_are_summed(tmp_path: Path) -> None:
    """A licence and a label a document, the last of them kept out of the list."""
    lines = [line(f"d{n}", english(n, 30 + n % 7), license=f"[/b] no {n}", lang=f"lang {n}") for n in range(130)]
    (tmp_path / "a.jsonl").write_bytes(b"".join(lines))
    settings = {"sources": {"a": {"path": str(tmp_path / "a.jsonl")}}, "duplicates": {"near": False}}
    ledger = build(BuildConfig.model_validate(settings), tmp_path / "corpus", workers=1)
    found = {entry["license"]: entry["tokens"] for entry in records(tmp_path / "corpus")}
    assert len(found) == 130
    listed, rest = ledger["licenses"][:100], ledger["licenses"][100:]
    assert [(row["license"], row["tokens"]) for row in listed] == sorted(
        found.items(), key=lambda item: (-item[1], item[0])
    )[:100]
    others = sum(found.values()) - sum(row["tokens"] for row in listed)
    assert rest == [{"source": "a", "license": "30 others", "is_sum": True, "documents": 30, "tokens": others}]
    assert [(row["source"], row["language"]) for row in ledger["sources"]] == [("a", "en")]


def test_a_task_on_a_machine_with_other_versions_is_refused(tmp_path: Path, inputs: Path) -> None:
    out = tmp_path / "corpus"
    interrupted(recipe(inputs), out)
    folder = partial_path(out)
    facts = json.loads((folder / "job.json").read_text())
    assert {"Python", "Unicode", "numpy"} <= facts["versions"].keys()
    for change, words in (
        ({"versions": {**facts["versions"], "Unicode": "1.1"}}, "the version of Unicode has changed"),
        ({"program": "0"}, "the program itself has changed"),
    ):
        (folder / "job.json").write_text(json.dumps({**facts, **change}))
        open_job.cache_clear()
        with pytest.raises(DataError, match=f"cannot work on this build: {words}"):
            run_task(folder, "clean", 1)
    open_job.cache_clear()
