"""``glm data``: build, show and verify as a person meets them."""

from __future__ import annotations

import gzip
import json
import random
import shlex
import signal
import subprocess
import sys
import time
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Refused, Result

from glm130b.cli import building
from glm130b.config import load_config
from glm130b.files import partial_path

pytestmark = pytest.mark.slow

GLM = [sys.executable, "-m", "glm130b"]
TEXT = """the of and to in is was for that with house river morning people small green walk open letter garden winter
stone music answer window bread paper silver yellow mountain captain minister question bridge market"""


def document(seed: int, words: int = 50) -> dict[str, str]:
    chosen = random.Random(seed).choices(TEXT.split(), k=words)
    text = " ".join(f"{word}." if n % 9 == 8 else word for n, word in enumerate(chosen))
    return {"id": f"d{seed}", "text": text, "lang": "en"}


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """A folder of documents, some of them faulty."""
    folder = tmp_path / "raw"
    folder.mkdir()
    lines = [json.dumps(document(n)) for n in range(20)]
    (folder / "news.en.jsonl").write_text("\n".join([*lines, lines[3], "no JSON"]) + "\n")
    (folder / "essay.txt").write_text(document(77)["text"])
    (folder / "README.md").write_text("About these files.")
    (folder / "quiz.jsonl").write_text(json.dumps({"question": document(5)["text"]}) + "\n")
    return folder


@pytest.fixture
def built(glm: Callable[..., Result], raw: Path, tmp_path: Path) -> Path:
    out = tmp_path / "corpus"
    quiz = (raw / "quiz.jsonl").rename(tmp_path / "quiz.jsonl")
    result = glm("data", "build", raw, "--out", out, "--workers", 1, "--against", quiz, "--set", "heldout=0.2")
    assert result.code == 0, result
    assert f"Wrote {out}: 20 of 23 documents," in result.out
    assert "README.md" in result.err
    return out


def test_a_corpus_is_built_shown_and_verified(glm: Callable[..., Result], built: Path) -> None:
    shown = glm("data", "show", built)
    assert shown.code == 0
    for words in ("news", "raw", "not a document", "exact duplicate", "contaminated", "quiz", "not stated"):
        assert words in shown.out
    assert glm("data", "verify", built).out.startswith("All ")
    ledger = json.loads((built / "data_ledger.json").read_text())
    assert ledger["fingerprint"] in shown.out
    assert (built / "ledger.html").read_text().startswith("<!doctype html>")


def test_what_is_not_read_is_in_the_ledger(glm: Callable[..., Result], raw: Path, tmp_path: Path) -> None:
    for name in ("scans/a.pdf", "books/b.txt", "books/cover.png"):
        (raw / name).parent.mkdir(exist_ok=True)
        (raw / name).write_text(document(55)["text"])
    result = glm("data", "build", raw, "--out", raw / "corpus", "--workers", 1)
    assert result.code == 0, result
    ledger = json.loads((raw / "corpus" / "data_ledger.json").read_text())
    named = ["README.md", "books/cover.png", "scans"]
    assert ledger["inputs_left_out"] == [str(raw / name) for name in named]
    for name in named:
        assert str(raw / name) in result.err
    again = glm("data", "build", raw, "--out", tmp_path / "second", "--workers", 1)
    assert str(raw / "corpus") in again.err
    second = json.loads((tmp_path / "second" / "data_ledger.json").read_text())
    assert second["inputs"] == ledger["inputs"]


def test_nothing_to_train_on_is_said(glm: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Un petit chat est sur la table et il ne veut pas descendre. " * 3)
    result = glm("data", "build", tmp_path / "a.txt", "--out", tmp_path / "corpus", "--workers", 1)
    assert result.code == 0, result
    assert "There is nothing to train on" in result.out
    assert "# No document was kept to train on" in (tmp_path / "corpus" / "sources.yaml").read_text()
    assert glm("data", "verify", tmp_path / "corpus").code == 0


def test_a_build_that_was_complete_already(
    glm: Callable[..., Result], raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    command = ("data", "build", raw / "essay.txt", "--out", tmp_path / "corpus", "--workers", 1)
    with monkeypatch.context() as patch:
        patch.setattr(sys.modules["glm130b.corpus.build"], "discard", killed)
        assert glm(*command).code == 130
    result = glm(*command)
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith(f"{tmp_path / 'corpus'} was complete already: 1 of 1 documents")


def test_odd_names_are_shown_as_they_are(glm: Callable[..., Result], tmp_path: Path) -> None:
    """Brackets are no markup, controls do not reach the terminal or the page."""
    licenses = ["[/b] none", "[CC BY]", "\x1b[31mred\x00\u202eback\ue000"]
    lines = [{**document(n), "license": name, "lang": "[/i]"} for n, name in enumerate(licenses)]
    lines.append({"id": "bad\x1b]0;title\x07", "text": "short \u202e text", "lang": "en"})
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, lines)))
    out = tmp_path / "corpus"
    assert glm("data", "build", tmp_path / "a.jsonl", "--out", out, "--workers", 1).code == 0
    shown = glm("data", "show", out)
    assert shown.code == 0, shown
    page = (out / "ledger.html").read_text()
    for words in ("[/b] none", "[CC BY]", "\ufffd[31mred\ufffd\ufffdback\ufffd"):
        assert words in shown.out
        assert words in page
    for text in (shown.out, page):
        assert not [c for c in text if c != "\n" and unicodedata.category(c) in ("Cc", "Cf", "Co")]
    assert "bad\ufffd]0;title\ufffd" in page
    with gzip.open(out / "documents.jsonl.gz", "rt") as records:
        assert "bad\x1b]0;title\x07" in {json.loads(line)["id"] for line in records}


@pytest.mark.parametrize(("shortest", "lines"), [(0.05, []), (0.0, ["Cleaning: 3 documents, 0.0 MB"])])
def test_a_stage_of_no_time_has_no_line(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], shortest: float, lines: list[str]
) -> None:
    monkeypatch.setattr(building, "_MIN_SECONDS", shortest)
    monkeypatch.setattr(building.time, "monotonic", lambda: 5.0)
    with building.BuildProgress() as progress:
        progress.begin("clean", 1, 10, 0)
        progress.advance(3, 10)
    assert [line.partition(" in ")[0] for line in capfd.readouterr().err.splitlines()] == lines


def test_a_run_can_extend_the_sources(built: Path, tmp_path: Path) -> None:
    run = tmp_path / "run.yaml"
    run.write_text(f"extends: [tiny, {built / 'sources.yaml'}]\n")
    sources = load_config(run).run.data.active_sources
    assert {name: Path(source.path) for name, source in sources.items()} == {
        "news-en": built / "news.en",
        "raw-en": built / "raw.en",
    }
    assert sum(source.weight for source in sources.values()) == pytest.approx(1, abs=1e-5)


def test_a_changed_file_is_named(refused: Refused, glm: Callable[..., Result], built: Path) -> None:
    shard = next(built.rglob("train-*.bin"))
    shard.write_bytes(shard.read_bytes()[:-2])
    result = glm("data", "verify", built)
    assert result.code == 4
    assert str(shard) in result.out
    assert "1 of the files" in refused(4, "data", "verify", built)


def test_a_recipe(glm: Callable[..., Result], raw: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    source = f"papers: {{path: {raw / 'news.en.jsonl'}, license: CC0}}"
    recipe.write_text(f"sources:\n  {source}\nduplicates: {{near: false}}\n")
    out = tmp_path / "corpus"
    assert glm("data", "build", recipe, "--out", out, "--set", "duplicates.exact=false", "--workers", 1).code == 0
    ledger = json.loads((out / "data_ledger.json").read_text())
    assert [row["documents"] for row in ledger["licenses"]] == [21]
    assert {path.parent.name for path in out.rglob("*.bin")} == {"papers.en"}


@pytest.mark.parametrize(
    ("code", "arguments", "words"),
    [
        (4, ["nowhere.jsonl"], "There is no file or folder nowhere.jsonl"),
        (3, ["nowhere.yaml"], "no config file or preset"),
        (3, ["recipe.yaml", "other.jsonl"], "has to be the only input"),
        (3, ["RAW", "--set", "duplicates.rows=0"], "duplicates.rows"),
        (3, ["RAW", "--set", "filters.en.min_word=3"], "Did you mean"),
        (4, ["RAW", "--set", "tokenizer=nowhere"], "nowhere"),
        (4, ["RAW", "--against", "nowhere"], "There is no evaluation set nowhere"),
        (3, ["RAW", "--set", "sources.Essay={path: x.txt}"], "one folder where case does not count"),
        (3, ["RAW", "--engine-options", "nowhere.json"], "nowhere.json"),
    ],
)
def test_mistakes(refused: Refused, raw: Path, tmp_path: Path, code: int, arguments: list[str], words: str) -> None:
    given = [str(raw / "essay.txt") if word == "RAW" else word for word in arguments]
    assert words in refused(code, "data", "build", *given, "--out", tmp_path / "corpus")


def test_a_folder_that_is_there(refused: Refused, raw: Path, tmp_path: Path) -> None:
    (tmp_path / "corpus").mkdir()
    assert "exists already" in refused(4, "data", "build", raw / "essay.txt", "--out", tmp_path / "corpus")


def test_no_corpus(refused: Refused, tmp_path: Path) -> None:
    for command in ("show", "verify"):
        assert "data_ledger.json is missing" in refused(4, "data", command, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_signal_stops_and_says_how_to_go_on(tmp_path: Path, kind: signal.Signals, code: int, workers: str) -> None:
    source, out = tmp_path / "my news.jsonl", tmp_path / "corpus"
    source.write_text("".join(json.dumps(document(n)) + "\n" for n in range(4000)))
    command = ["data", "build", str(source), "--out", str(out), "--set", "part_bytes=100_000", "--workers", workers]
    process = subprocess.Popen([*GLM, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not list((partial_path(out) / "clean").glob("[0-9]*")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(kind)
    printed, errors = process.communicate(timeout=60)
    assert (process.returncode, printed) == (code, "")
    assert "Traceback" not in errors
    stopped, again = errors.splitlines()[-2:]
    assert stopped == f"Stopped. What was finished is kept in {partial_path(out)}. Go on with:"
    assert shlex.split(again) == ["glm", *command]
    assert not out.exists()
