"""Scoring texts: what is kept, what is missing, what is tried again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from glm130b.errors import DataError, ResourceError
from glm130b.evaluation.toxicity import Lexicon, Score, ScorerFacts, open_store, score_texts

LONG = 100


class Scripted:
    """Gives a text's score from a table and remembers what it was asked."""

    def __init__(self, scores: dict[str, float | None], batch: int = 2, version: str = "1") -> None:
        self.facts = ScorerFacts("scripted", "a table", version=version)
        self.batch = batch
        self.scores = scores
        self.asked: list[str] = []

    def score(self, texts: Sequence[str]) -> list[Score]:
        self.asked += texts
        return [Score(self.scores[text], "" if self.scores[text] is not None else "refused") for text in texts]


def scored(folder: Path, scorer: Scripted, texts: Sequence[str]) -> list[float | None]:
    with open_store(folder, scorer.facts.name, scorer.facts.identity) as store:
        score_texts(texts, scorer, store)
        return [store.toxicity(text) for text in texts]


def test_a_text_is_asked_once_and_a_failure_is_missing(tmp_path: Path) -> None:
    scorer = Scripted({"a": 0.1, "b": None, "c": 0.0})
    assert scored(tmp_path, scorer, ["a", "b", "a", "c"]) == [0.1, None, 0.1, 0.0]
    assert scorer.asked == ["a", "b", "c"]
    lines = [json.loads(line) for line in (tmp_path / "scores" / "scripted.jsonl").read_text().splitlines()]
    assert [line["toxicity"] for line in lines] == [0.1, None, 0.0]
    assert lines[1]["error"] == "refused"
    assert all(len(line["text"]) == 64 and line["date"].endswith("+00:00") for line in lines)


def test_only_what_is_missing_is_scored_again(tmp_path: Path) -> None:
    scored(tmp_path, Scripted({"a": 0.1, "b": None}), ["a", "b"])
    again = Scripted({"b": 0.7, "c": 0.2})
    assert scored(tmp_path, again, ["a", "b", "c"]) == [0.1, 0.7, 0.2]
    assert again.asked == ["b", "c"]
    other = Scripted({"a": 0.9}, version="2")
    assert scored(tmp_path, other, ["a"]) == [0.9]
    assert scored(tmp_path, again, ["a"]) == [0.1]


@pytest.mark.parametrize("value", [1.5, -0.1, float("nan"), float("inf")])
def test_a_number_that_is_no_score_is_missing(tmp_path: Path, value: float) -> None:
    assert scored(tmp_path, Scripted({"a": value, "b": 1.0}), ["a", "b"]) == [None, 1.0]
    assert "is not between 0 and 1" in (tmp_path / "scores" / "scripted.jsonl").read_text()


def test_a_scorer_that_drops_texts_scores_none_of_them(tmp_path: Path) -> None:
    class Short(Scripted):
        def score(self, texts: Sequence[str]) -> list[Score]:
            return super().score(texts)[:-1]

    assert scored(tmp_path, Short({"a": 0.1, "b": 0.2}), ["a", "b"]) == [None, None]


def test_three_lost_batches_end_it_and_the_rest_is_kept(tmp_path: Path) -> None:
    texts = [f"t{n}" for n in range(LONG)]
    scores: dict[str, float | None] = dict.fromkeys(texts, None)
    scores |= {"t0": 0.5, "t3": 0.5}
    scorer = Scripted(scores)
    with pytest.raises(ResourceError, match=r"scripted \(a table\) fails: refused\."):
        scored(tmp_path, scorer, texts)
    assert len(scorer.asked) == 4 + 3 * 2
    assert len((tmp_path / "scores" / "scripted.jsonl").read_text().splitlines()) == len(scorer.asked)
    scorer.scores = dict.fromkeys(texts, 0.25)
    assert scored(tmp_path, scorer, texts) == [0.5, 0.25, 0.25, 0.5] + [0.25] * (LONG - 4)


def test_a_torn_last_line_is_dropped(tmp_path: Path) -> None:
    scorer = Scripted({"a": 0.1, "b": 0.2})
    scored(tmp_path, scorer, ["a", "b"])
    path = tmp_path / "scores" / "scripted.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    assert scored(tmp_path, scorer, ["a", "b"]) == [0.1, 0.2]
    assert scorer.asked == ["a", "b", "b"]
    assert [json.loads(line)["toxicity"] for line in path.read_text().splitlines()] == [0.1, 0.2]


@pytest.mark.parametrize("line", ["{}", "[]", "x", '{"text": "t", "scorer": "s", "toxicity": "high", "date": ""}'])
def test_a_damaged_line_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "scores" / "scripted.jsonl"
    path.parent.mkdir()
    path.write_text(line + "\n")
    with pytest.raises(DataError, match=r"scripted\.jsonl, line 1, is damaged"):
        scored(tmp_path, Scripted({}), [])


def test_two_processes_cannot_score_at_once(tmp_path: Path) -> None:
    with (
        open_store(tmp_path, "x", "1"),
        pytest.raises(ResourceError, match="Another process is scoring"),
        open_store(tmp_path, "x", "1"),
    ):
        pass


def test_text_that_is_no_unicode_is_scored_too(tmp_path: Path) -> None:
    assert scored(tmp_path, Scripted({"\ud800": 0.3}), ["\ud800"]) == [0.3]


def test_an_identity_does_not_depend_on_where_files_lie() -> None:
    assert ScorerFacts("x", "/a", "digest").identity == ScorerFacts("x", "/b", "digest").identity
    assert ScorerFacts("x", "/a").identity != ScorerFacts("x", "/b").identity
    assert ScorerFacts("x", "/a", "d", settings={"label": "1"}).identity != ScorerFacts("x", "/a", "d").identity


def test_words_count_as_words(tmp_path: Path) -> None:
    file = tmp_path / "words.txt"
    file.write_text("# mine\nBad\nbad luck  # a phrase\n坏\n!?\n\n", encoding="utf-8")
    lexicon = Lexicon(file)
    texts = ["a BAD thing", "badly put", "too-bad.", "bad luck", "一个坏人", "really!?", "fine", "", "bad坏"]
    assert [score.toxicity for score in lexicon.score(texts)] == [1, 0, 1, 1, 1, 1, 0, 0, 1]
    assert len(lexicon.facts.digest) == 64
    assert "sanity" in lexicon.facts.warning


def test_the_list_of_the_package_says_what_it_is() -> None:
    lexicon = Lexicon()
    assert [score.toxicity for score in lexicon.score(["What an idiot!", "真讨厌", "Good morning"])] == [1, 1, 0]
    assert "a few mild words" in lexicon.facts.warning


def test_an_empty_list(tmp_path: Path) -> None:
    file = tmp_path / "words.txt"
    file.write_text("# nothing\n\n")
    with pytest.raises(DataError, match="lists no word"):
        Lexicon(file)
    with pytest.raises(DataError, match="cannot be read"):
        Lexicon(tmp_path / "missing.txt")
