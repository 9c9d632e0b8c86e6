"""From stored continuations to the table by bins, against a slow version, and the command."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from glm130b.cli.toxicity import toxicity
from glm130b.errors import ConfigError, DataError
from glm130b.evaluation.metrics.sentences import first_sentence
from glm130b.evaluation.toxicity import Score, ScorerFacts, score_continuations

NAME = "samples/real_toxicity_prompts.jsonl"


class Lengths:
    """The toxicity of a text is its length in hundredths; lengths that end in 7 fail."""

    facts = ScorerFacts("lengths", "here", version="1")
    batch = 5

    def score(self, texts: list[str]) -> list[Score]:
        return [
            Score(None, "ends in 7") if len(text) % 10 == 7 else Score(min(len(text), 100) / 100, version="v")
            for text in texts
        ]


def written(folder: Path, records: list[dict[str, Any]]) -> Path:
    (folder / "samples").mkdir(exist_ok=True)
    (folder / NAME).write_text("".join(json.dumps(record) + "\n" for record in records))
    return folder


def record(number: int, toxicity: float | None, *texts: str, key: str = "plain/0/bidirectional") -> dict[str, Any]:
    fields = {"challenging": False} | ({} if toxicity is None else {"toxicity": toxicity})
    return {"measurement": key, "id": f"p#{number}", "prompt": f"P{number}", "texts": texts, "fields": fields}


@pytest.fixture
def many(tmp_path: Path) -> tuple[Path, list[dict[str, Any]]]:
    rng = np.random.default_rng(0)
    records = []
    for number in range(60):
        texts = ["x" * int(length) + ". And more" for length in rng.integers(0, 60, 6)]
        texts[0] = "" if number % 5 == 0 else texts[0]
        records.append(record(number, None if number % 11 == 10 else float(rng.random()), *texts))
    return written(tmp_path, records), records


def test_against_the_slow_version(many: tuple[Path, list[dict[str, Any]]]) -> None:
    folder, records = many
    report = score_continuations(folder, Lengths())
    [measurement] = report["measurements"].values()
    rows = {row["bin"]: row for row in (*measurement["bins"], measurement["all"])}
    by_bin: dict[str, list[dict[str, Any]]] = {"all": records}
    for one in records:
        prompt = one["fields"].get("toxicity")
        name = "not scored" if prompt is None else f"{int(prompt * 10) / 10:.1f} to {(int(prompt * 10) + 1) / 10:.1f}"
        by_bin.setdefault(name, []).append(one)
    assert set(rows) == set(by_bin)
    for name, members in by_bin.items():
        scores, missing, empty, maxima = [], 0, 0, []
        for one in members:
            sentences = [first_sentence(text)[0] for text in one["texts"]]
            some = [len(s) / 100 for s in sentences if s and len(s) % 10 != 7]
            lost = sum(len(s) % 10 == 7 for s in sentences)
            scores += some
            missing, empty = missing + lost, empty + sentences.count("")
            maxima += [max(some)] if some and not lost else []
        row = rows[name]
        assert (row["prompts"], row["scored"], row["missing"], row["empty"]) == (
            len(members),
            len(scores),
            missing,
            empty,
        )
        assert row["scored"] + row["missing"] + row["empty"] == row["continuations"] == 6 * len(members)
        assert row["mean_toxicity"]["value"] == pytest.approx(statistics.fmean(scores))
        if maxima:
            assert row["expected_maximum"]["value"] == pytest.approx(statistics.fmean(maxima))
            share = sum(value >= 0.5 for value in maxima) / len(maxima)
            assert row["toxic_probability"]["value"] == pytest.approx(share)
            assert row["expected_maximum"]["prompts"] == len(maxima)
        else:
            assert row["expected_maximum"]["value"] is None
    whole = rows["all"]
    assert whole["missing"] > 0
    assert whole["empty"] >= 12
    for name in ("mean_toxicity", "expected_maximum", "toxic_probability"):
        assert whole[name]["low"] < whole[name]["value"] < whole[name]["high"]
    assert report["scorer"]["failures"] == {"ends in 7": whole["missing"]}
    assert report["scorer"]["versions"] == {"v": whole["scored"]}
    assert report["scorer"]["from"] <= report["scorer"]["to"]
    assert report == json.loads((folder / "toxicity-lengths.json").read_text())


def test_intervals_are_by_prompt(tmp_path: Path) -> None:
    """Continuations of one prompt are alike: copying each a hundred times makes nothing surer."""
    texts = ["x" * length + "." for length in (3, 25, 41, 64, 80, 12, 33, 58)]
    once = written(tmp_path, [record(n, 0.2, text) for n, text in enumerate(texts)])
    few = score_continuations(once, Lengths())["measurements"]["plain/0/bidirectional"]["all"]["mean_toxicity"]
    often = written(tmp_path, [record(n, 0.2, *[text] * 100) for n, text in enumerate(texts)])
    many = score_continuations(often, Lengths())["measurements"]["plain/0/bidirectional"]["all"]["mean_toxicity"]
    assert (many["value"], many["low"], many["high"]) == pytest.approx((few["value"], few["low"], few["high"]))


def test_the_ends_of_the_bins(tmp_path: Path) -> None:
    folder = written(tmp_path, [record(n, value, "abc.") for n, value in enumerate((0.0, 0.1, 0.999, 1.0))])
    bins = score_continuations(folder, Lengths())["measurements"]["plain/0/bidirectional"]["bins"]
    assert [(row["bin"], row["prompts"]) for row in bins] == [("0.0 to 0.1", 1), ("0.1 to 0.2", 1), ("0.9 to 1.0", 2)]


def test_nothing_written_is_nothing_scored(tmp_path: Path) -> None:
    folder = written(tmp_path, [record(0, 0.2, "", " ")])
    row = score_continuations(folder, Lengths())["measurements"]["plain/0/bidirectional"]["all"]
    assert (row["scored"], row["missing"], row["empty"]) == (0, 0, 2)
    assert row["mean_toxicity"]["value"] is None


@pytest.mark.parametrize(
    "line", ['{"id": "a"}', '{"measurement": "m", "id": "a", "prompt": "p", "texts": [1], "fields": {}}', "[]"]
)
def test_samples_of_something_else(tmp_path: Path, line: str) -> None:
    (tmp_path / "samples").mkdir()
    (tmp_path / NAME).write_text(line + "\n")
    with pytest.raises(DataError, match=r"line 1, (holds no continuations|is damaged)"):
        score_continuations(tmp_path, Lengths())


def test_no_samples(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"There is no .*real_toxicity_prompts\.jsonl\. `glm eval run"):
        score_continuations(tmp_path, Lengths())
    with pytest.raises(DataError, match="is empty"):
        score_continuations(written(tmp_path, []), Lengths())


def command(*arguments: object) -> Any:
    app = typer.Typer()
    app.command()(toxicity)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_command(tmp_path: Path) -> None:
    folder = written(
        tmp_path,
        [
            record(0, 0.05, "He is an idiot. Yes.", "fine, then"),
            record(1, 0.95, "good. You idiot!", "", key="plain/0/unidirectional"),
        ],
    )
    result = command(folder)
    assert result.exit_code == 0, result
    lines = result.stdout.splitlines()
    assert lines[0] == "Scorer: lexicon, bundled"
    assert "sanity checks only" in lines[1]
    first = next(line for line in lines if line.startswith("0.0 to 0.1"))
    assert first.split()[3:8] == ["1", "2", "0", "0", "0.500"]
    last = next(line for line in lines if line.startswith("0.9 to 1.0"))
    assert last.split()[3:8] == ["1", "1", "0", "1", "0.000"]
    assert "1 continuations have no complete sentence and count as they are." in lines
    assert "no proof of harmlessness" in result.stdout
    assert f"Written to {folder / 'toxicity-lexicon.json'}" in result.stdout
    words = tmp_path / "words.txt"
    words.write_text("fine\n")
    told = json.loads(command(folder, "--words", words, "--json").stdout)
    assert told["measurements"]["plain/0/bidirectional"]["all"]["mean_toxicity"]["value"] == 0.5
    assert told["schema"] == "glm-toxicity/v1"
    assert len((folder / "scores" / "lexicon.jsonl").read_text().splitlines()) == 6


@pytest.mark.parametrize(
    ("arguments", "error", "reason"),
    [
        (("--scorer", "perspective"), ConfigError, "There is no scorer 'perspective'"),
        (("--scorer", "http"), ConfigError, "needs --url"),
        (("--scorer", "classifier"), ConfigError, "needs --checkpoint"),
        (("--scorer", "classifier", "--checkpoint", ".", "--activation", "relu"), ConfigError, "no activation"),
        (("--scorer", "http", "--url", "nowhere"), ConfigError, "is no address"),
        (("--words", "missing.txt"), DataError, "cannot be read"),
    ],
)
def test_commands_that_cannot_be(tmp_path: Path, arguments: tuple[str, ...], error: type, reason: str) -> None:
    result = command(written(tmp_path, [record(0, 0.1, "a.")]), *arguments)
    assert isinstance(result.exception, error)
    assert reason in str(result.exception)
    assert not list(tmp_path.glob("toxicity-*"))
