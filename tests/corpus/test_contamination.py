"""Evaluation items in documents: the index against a slow search, and what is cut."""

from __future__ import annotations

import json
import random
import tempfile
import unicodedata
from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glm130b.config import ContaminationConfig
from glm130b.corpus.contamination import EvaluationIndex, Hit
from glm130b.corpus.decontaminate import decontaminate
from glm130b.corpus.normalise import normalise
from glm130b.corpus.verdict import Verdict, cut_spans, decide
from glm130b.errors import DataError

WORDS = st.lists(st.sampled_from(["red", "Blue", "绿", "four", "五"]), max_size=25)


@pytest.mark.slow
def test_against_a_slow_search() -> None:
    """Every n-gram of every item looked for in every document, by plain comparison."""

    @given(st.lists(WORDS, min_size=1, max_size=6), st.lists(WORDS, min_size=1, max_size=4), st.integers(2, 5))
    @settings(max_examples=40, deadline=None)
    def check(items: list[list[str]], documents: list[list[str]], n: int) -> None:
        with tempfile.TemporaryDirectory() as folder:
            task = Path(folder) / "sets" / "task"
            task.mkdir(parents=True)
            (task / "x.jsonl").write_text("".join(json.dumps({"q": " ".join(item)}) + "\n" for item in items))
            index = EvaluationIndex.build([task.parent], Path(folder) / "index", n=n)
            again = EvaluationIndex(Path(folder) / "index")
            for words in documents:
                text = " ".join(words)
                found = index.hits(text)
                assert again.hits(text) == found
                assert found == slow_hits(items, words, n)

    check()


def slow_hits(items: list[list[str]], words: list[str], n: int) -> list[Hit]:
    def grams(row: list[str]) -> list[tuple[str, ...]]:
        return [tuple(word.lower() for word in row[place : place + n]) for place in range(len(row) - n + 1)]

    places = [0]
    for word in words:
        places.append(places[-1] + len(word) + 1)
    hits = []
    for number, item in enumerate(items):
        own, theirs = set(grams(item)), grams(words)
        overlap = len(own & set(theirs)) / len(own) if own else 0
        stretches: list[list[int]] = []
        for place, gram in enumerate(theirs):
            if gram in own and stretches and place - stretches[-1][1] < n:
                stretches[-1][1] = place
            elif gram in own:
                stretches.append([place, place])
        for first, last in stretches:
            hits.append(Hit("task", f"task/x.jsonl#{number}", places[first], places[last + n] - 1, overlap))
    return sorted(hits, key=lambda hit: (hit.start, hit.end, hit.task, hit.item))


QUESTION = "Which of the seven old bridges over the quiet river was the very first to be rebuilt in stone?"
CHINESE = "下列哪一座橫跨這條安靜河流的古老橋樑是最先用石頭重新建造起來的呢"


@pytest.fixture
def sets(tmp_path: Path) -> Path:
    folder = tmp_path / "sets"
    for task, name, content in (
        ("quiz", "test.csv", f'"{QUESTION}",Upper,Middle,Lower,Old,C\nWho wrote it?,A,B,C,D,A\n'),
        ("cn", "dev.json", json.dumps({"data": [{"question": CHINESE}]}, ensure_ascii=False)),
        ("cn", "README.md", QUESTION),
        ("mip", "train.jsonl", json.dumps({"text": "left out " * 20})),
    ):
        (folder / task).mkdir(parents=True, exist_ok=True)
        (folder / task / name).write_text(content, encoding="utf-8")
    return folder


def test_folded_passages_are_found(tmp_path: Path, sets: Path) -> None:
    index = EvaluationIndex.build([sets], tmp_path / "index", exclude=["mip"])
    assert index.facts["tasks"] == {
        "cn": {"items": 1, "too_short": 0, "common": 0, "indexed": 1},
        "quiz": {"items": 2, "too_short": 1, "common": 0, "indexed": 1},
    }
    assert index.facts["ngrams"] == len(CHINESE) - 12 + 19 - 12
    english_part = "WHICH OF THE SEVEN OLD BRIDGES — over the quiet river was the very first"
    text = f"前言。下列哪一座横跨这条安静河流的古老桥梁是最先用石头重新建造起来的呢？ {english_part}"
    chinese, english = index.hits(text)
    assert (chinese.task, chinese.item, chinese.overlap) == ("cn", "cn/dev.json#data[0]", 1.0)
    assert text[chinese.start : chinese.end] == "下列哪一座横跨这条安静河流的古老桥梁是最先用石头重新建造起来的呢"
    assert (english.task, english.item) == ("quiz", "quiz/test.csv#0")
    assert english.overlap == pytest.approx(2 / 7)
    assert english.record("web", "d1") == {
        "task": "quiz",
        "item": "quiz/test.csv#0",
        "source": "web",
        "document": "d1",
        "span": [english.start, english.end],
        "overlap": 0.2857,
    }
    assert index.hits("left out " * 20) == []


def test_common_wording_says_nothing(tmp_path: Path) -> None:
    line = "the following are multiple choice questions with answers about some subject or other here"
    for count, common in ((20, 0), (21, 21)):
        file = tmp_path / f"{count}.jsonl"
        file.write_text("".join(json.dumps({"q": f"{n} {line}"}) + "\n" for n in range(count)))
        index = EvaluationIndex.build([file], tmp_path / f"index{count}")
        assert bool(index.hits(line)) == (not common)
        counts = index.facts["tasks"][str(count)]
        assert counts["items"] == counts["indexed"] == count  # the number before it makes one n-gram its own
        assert {hit.overlap for hit in index.hits(f"5 {line}")} >= {1.0}


def test_a_passage_of_many_items_is_found(tmp_path: Path) -> None:
    """A sentence with a hundred candidates is one text of a hundred items, not common wording."""
    passage = "On a cold day in March the old ferry left the harbour without its captain or any of its crew"
    file = tmp_path / "x.tsv"
    file.write_text("".join(f"{passage}\tWhen was it?\tcandidate {n}\n" for n in range(100)))
    index = EvaluationIndex.build([file], tmp_path / "index")
    assert index.facts["tasks"] == {"x": {"items": 100, "too_short": 0, "common": 0, "indexed": 100}}
    hits = index.hits(passage)
    assert [hit.item for hit in hits] == sorted(f"x.tsv#{n}" for n in range(100))
    assert {hit.overlap for hit in hits} == {1.0}


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("mark", ["", "\u00ad", "\u200b"])
def test_items_are_normalised_like_documents(tmp_path: Path, form: str, mark: str) -> None:
    words = "Le café été où la naïve forêt était à côté du château près de l'île déserte"
    item = unicodedata.normalize(form, words.replace("forêt", f"fo{mark}rêt"))
    (tmp_path / "x.txt").write_text(item)
    index = EvaluationIndex.build([tmp_path / "x.txt"], tmp_path / "index")
    for other in ("NFC", "NFD"):
        (hit,) = index.hits(normalise(unicodedata.normalize(other, words)))
        assert hit.overlap == 1.0
    source = tmp_path / "web.jsonl"
    source.write_text(json.dumps({"id": "1", "text": unicodedata.normalize("NFD", words)}))
    found = decontaminate(
        {"web": [source]}, ContaminationConfig(against=(str(tmp_path / "x.txt"),)), tmp_path / "hits.jsonl"
    )
    assert found["dropped"] == 1


def test_cutting_takes_the_sentence() -> None:
    text = "One is fine. Two holds the passage that is known. Three is fine."
    start = text.index("the passage")
    hit = Hit("t", "i", start, start + 11, 1.0)
    assert cut_spans(text, [hit]) == "One is fine. Three is fine."
    assert cut_spans(text, [hit, Hit("t", "j", 0, 3, 1.0)]) == " Three is fine."
    long = "x" * 500 + "PASSAGE" + "y" * 500
    assert cut_spans(long, [Hit("t", "i", 500, 507, 1.0)]) == "x" * 300 + "y" * 300


@given(st.text(alphabet="ab. \n", max_size=80), st.lists(st.tuples(st.integers(0, 80), st.integers(0, 80)), max_size=4))
def test_a_cut_takes_all_of_every_hit(text: str, spans: list[tuple[int, int]]) -> None:
    hits = [Hit("t", "i", *sorted((min(a, len(text)), min(b, len(text)))), 1.0) for a, b in spans]
    marked = "".join("#" if any(hit.start <= n < hit.end for hit in hits) else c for n, c in enumerate(text))
    left = cut_spans(marked, hits)
    assert "#" not in left
    assert len(left) <= len(text)


def test_actions(tmp_path: Path, sets: Path) -> None:
    index = EvaluationIndex.build([sets], tmp_path / "index", exclude=["mip"])
    text = "A fine beginning of some length here, with more to say. " * 5 + QUESTION + " And an end."
    hits = index.hits(text)
    assert [text[hit.start : hit.end] for hit in hits] == [QUESTION.rstrip("?")]
    wanted = {"log": text, "drop-document": None, "drop-span": text.replace(QUESTION, "")}
    for action, left in wanted.items():
        verdict = decide(text, hits, ContaminationConfig(action=action))
        assert (verdict.left or "").split() == (left or "").split()
        assert (verdict.left is None) == (left is None)
        assert verdict.actions == ({"log": "logged", "drop-document": "dropped document", "drop-span": "cut"}[action],)
    mostly = QUESTION + " And."
    assert decide(mostly, index.hits(mostly), ContaminationConfig(action="drop-span")).left is None
    some = QUESTION[:75]
    assert decide(some, index.hits(some), ContaminationConfig(min_overlap=0.9)) == Verdict(some, ("logged",))


def test_a_stream_of_documents(tmp_path: Path, sets: Path) -> None:
    source = tmp_path / "web.jsonl"
    texts = [QUESTION, "Something else altogether.", "又一个文档。" + CHINESE]
    lines = [json.dumps({"id": str(n), "text": text}) for n, text in enumerate(texts)] + ["{broken", '{"text": ""}']
    source.write_text("\n".join(lines))
    settings = ContaminationConfig(against=(str(sets),), exclude=("mip",))
    hits, clean = tmp_path / "hits.jsonl", tmp_path / "clean.jsonl.gz"
    found = decontaminate({"web": [source]}, settings, hits, clean_path=clean)
    assert {name: found[name] for name in ("documents", "dropped", "cut", "hits")} == {
        "documents": 5,
        "dropped": 2,
        "cut": 0,
        "hits": 2,
    }
    assert found["unread"] == {"not a document": 1, "empty": 1}
    assert found["tasks"] == {"quiz": 1, "cn": 1}
    records = [json.loads(line) for line in hits.read_text().splitlines()]
    assert [(record["document"], record["task"]) for record in records] == [("0", "quiz"), ("2", "cn")]
    from glm130b.corpus import read_documents

    assert [document.id for document in read_documents([clean])] == ["1"]
    with pytest.raises(DataError, match=r"hits.jsonl exists already"):
        decontaminate({"web": [source]}, settings, hits)


def test_the_size_of_the_index_does_not_change_what_is_found(tmp_path: Path) -> None:
    """Many items: the filter in front of the table lets nothing through that is not there, and all that is."""
    rng = random.Random(0)
    words = [f"w{n}" for n in range(500)]
    items = [[rng.choice(words) for _ in range(20)] for _ in range(3000)]
    (tmp_path / "x.txt").write_text("\n".join(" ".join(item) for item in items))
    index = EvaluationIndex.build([tmp_path / "x.txt"], tmp_path / "index")
    assert index.facts["tasks"] == {"x": {"items": 3000, "too_short": 0, "common": 0, "indexed": 3000}}
    assert index.facts["ngrams"] == 24_000
    by_item: dict[str, float] = defaultdict(float)
    for number in (0, 1234, 2999):
        for hit in index.hits(" ".join(["other", *items[number], *rng.choices(words, k=200)])):
            by_item[hit.item] = hit.overlap
    assert by_item == {"x.txt#0": 1.0, "x.txt#1234": 1.0, "x.txt#2999": 1.0}


def test_a_damaged_index_is_named(tmp_path: Path, sets: Path) -> None:
    EvaluationIndex.build([sets], tmp_path / "index")
    (tmp_path / "index" / "hashes.npy").write_bytes(b"")
    with pytest.raises(DataError, match=r"The index .*index is incomplete"):
        EvaluationIndex(tmp_path / "index")
