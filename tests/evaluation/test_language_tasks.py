"""LAMBADA, WikiText, Penn Treebank and the Pile: what is read, and how predictions are scored."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from real_data import REAL, needs_real

from glm130b.errors import DataError
from glm130b.evaluation.data_files import load_items
from glm130b.evaluation.items import Item, Predicted, Question, Written
from glm130b.evaluation.metrics import METRICS
from glm130b.evaluation.metrics.likelihood import FEW_DOCUMENTS, PILE_SHARES, pile_average
from glm130b.evaluation.modes import MODES
from glm130b.evaluation.readers import READERS
from glm130b.evaluation.registry import known_tasks
from glm130b.evaluation.statistics import value_of

FIXTURES = Path(__file__).parents[1] / "fixtures" / "evaluation"

BPB = {
    "DM Mathematics": (1.040, 1.370, 0.786),
    "Ubuntu IRC": (0.857, 0.946, 0.977),
    "OpenSubtitles": (0.879, 0.932, 0.889),
    "HackerNews": (0.869, 0.975, 0.873),
    "Books3": (0.835, 0.802, 0.803),
    "Pile-CC": (0.669, 0.698, 0.771),
    "PhilPapers": (0.741, 0.723, 0.766),
    "Gutenberg (PG-19)": (0.890, 1.160, 0.821),
    "ArXiv": (0.680, 0.838, 0.570),
    "StackExchange": (0.655, 0.773, 0.611),
    "NIH ExPorter": (0.590, 0.612, 0.614),
    "PubMed Abstracts": (0.587, 0.625, 0.610),
    "USPTO Backgrounds": (0.537, 0.566, 0.537),
    "PubMed Central": (0.579, 0.690, 0.510),
    "FreeLaw": (0.514, 0.612, 0.499),
    "Github": (0.358, 0.645, 0.329),
    "Enron Emails": (0.621, 0.958, 0.604),
    "YoutubeSubtitles": (0.825, 0.815, 0.746),
}
"""Published bits per byte of Jurassic-1, GPT-3 and GLM-130B."""


def question(name: str, group: str = "", references: tuple[str, ...] = ()) -> Question:
    return Question(Item(name, {}, references=references, group=group), "", 0, "", (), "")


def predicted(name: str, nats: float, size: int, group: str = "") -> Predicted:
    return Predicted(question(name, group), nats, tokens=1, words=size, bytes=size)


def value(name: str, outcomes: list[Predicted] | list[Written], aggregate: str = "micro") -> float:
    return value_of(METRICS[name].units(outcomes), METRICS[name], aggregate)  # type: ignore[arg-type]


def written(answer: str, target: str, name: str = "1") -> Written:
    return Written(question(name, references=(target,)), (answer,), (True,))


@needs_real
def test_the_real_lambada_is_complete_and_its_odd_passages_are_right() -> None:
    task = known_tasks()["lambada"]
    items = load_items(task, REAL).items
    assert len(items) == task.data.expects == 5153
    texts = [json.loads(line)["text"] for line in (REAL / "lambada" / "lambada_test.jsonl").open(encoding="utf-8")]
    after_line_end = with_marks = 0
    for item, text in zip(items, texts, strict=True):
        context, target = item.fields["context"], item.fields["target"]
        assert text.startswith(context)
        assert text[len(context) :].strip() == target == text.split()[-1]
        assert item.references == (target,)
        after_line_end += text.rsplit(" ", 1)[1] != target
        with_marks += not target.isalnum()
    assert after_line_end == 7
    assert with_marks == 38


def test_both_releases_of_lambada_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": "He said,\n\n“Stop”"}) + "\n\n")
    (tmp_path / "b.txt").write_text("he said ``  stop\n")
    fields = [item.fields for item in READERS["lambada"]([tmp_path / "a.jsonl", tmp_path / "b.txt"])]
    assert fields == [{"context": "He said,", "target": "“Stop”"}, {"context": "he said ``", "target": "stop"}]


@pytest.mark.parametrize("line", ['{"passage": "a b"}', '{"text": 3}', '{"text": "one"}', "plain words", "[1]"])
def test_a_file_that_is_not_lambada_is_named(line: str, tmp_path: Path) -> None:
    file = tmp_path / "lambada_test.jsonl"
    file.write_text('{"text": "all is well"}\n' + line + "\n")
    with pytest.raises(DataError, match=r"lambada_test\.jsonl, line 2"):
        list(READERS["lambada"]([file]))


@pytest.mark.parametrize(
    ("answer", "target", "right"),
    [
        ("tea", "tea", 1),
        (" tea . He", "tea", 1),
        ("tea.", "tea", 0),
        ("Tea", "tea", 0),
        ("", "tea", 0),
        ("tea\nHe", "tea", 0),
        ("green tea", "tea", 0),
    ],
)
def test_only_the_very_word_is_right(answer: str, target: str, right: int) -> None:
    assert value("last_word", [written(answer, target)]) == right


@needs_real
@pytest.mark.parametrize(("name", "words"), [("wikitext2", 245566), ("wikitext103", 245566), ("ptb", 82429)])
def test_the_real_texts_have_the_authors_number_of_words(name: str, words: int) -> None:
    task = known_tasks()[name]
    (item,) = load_items(task, REAL).items
    outcome = MODES["lm"].outcome(task, Question(item, "", 0, item.fields["text"], (), ""), [], [])
    assert isinstance(outcome, Predicted)
    assert outcome.words == words
    assert outcome.bytes == (REAL / task.data.files[0]).stat().st_size


def test_a_text_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    (tmp_path / "empty").write_text(" \n")
    for name in ("bytes", "empty", "missing"):
        with pytest.raises(DataError, match=name):
            list(READERS["whole_text"]([tmp_path / name]))


def test_the_pile_is_read_as_published_and_as_the_authors_keep_it() -> None:
    tasks = known_tasks()
    ours, theirs = (load_items(tasks[name], FIXTURES).items for name in ("pile", "pile_tokenized"))
    assert [(item.group, item.fields) for item in ours] == [(item.group, item.fields) for item in theirs]
    assert [item.group for item in ours].count("Github") == 1, "one of two is empty"
    only = READERS["pile"]([FIXTURES / "pile" / "test.jsonl.zst"], sets=["ArXiv", "Pile-CC"])
    assert [item.group for item in only] == ["ArXiv", "Pile-CC"]


def test_frames_and_lines_may_end_anywhere(tmp_path: Path) -> None:
    rows = [{"text": "é" * n, "meta": {"pile_set_name": "ArXiv"}} for n in range(1, 40)]
    raw = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode().rstrip()
    file = tmp_path / "test.jsonl.zst"
    file.write_bytes(b"".join(zstandard.ZstdCompressor().compress(raw[n : n + 71]) for n in range(0, len(raw), 71)))
    assert [item.fields["text"] for item in READERS["pile"]([file])] == [row["text"] for row in rows]


@pytest.mark.parametrize("fault", ["cut", "empty", "other", "not utf-8", "no set", "text is a number"])
def test_a_damaged_pile_is_named(fault: str, tmp_path: Path) -> None:
    whole = (FIXTURES / "pile" / "test.jsonl.zst").read_bytes()
    pack = zstandard.ZstdCompressor().compress
    content = {
        "cut": whole[:-20],
        "empty": b"",
        "other": b"PK\x03\x04 something else",
        "not utf-8": pack(b'{"text": "\xff", "meta": {"pile_set_name": "ArXiv"}}\n'),
        "no set": pack(b'{"text": "a", "meta": {}}\n'),
        "text is a number": pack(b'{"text": 1, "meta": {"pile_set_name": "ArXiv"}}\n'),
    }[fault]
    file = tmp_path / "test.jsonl.zst"
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"test\.jsonl\.zst, line \d"):
        list(READERS["pile"]([file]))


def test_the_published_components_give_the_published_averages() -> None:
    """Jurassic-1 0.650, GPT-3 0.742, GLM-130B 0.634."""
    table = np.array([BPB[name] for name in PILE_SHARES]).T
    assert pile_average(table).round(3).tolist() == [0.650, 0.742, 0.634]


def test_weights_are_shares_of_a_whole_with_four_sets_left_out() -> None:
    left_out = {"OpenWebText2": 10.01, "Wikipedia (en)": 1.53, "BookCorpus2": 0.75, "EuroParl": 0.73}
    assert sum(PILE_SHARES.values()) + sum(left_out.values()) == pytest.approx(100, abs=0.05)
    assert len(PILE_SHARES) == 18


documents = st.lists(
    st.tuples(
        st.sampled_from(["ArXiv", "Github", "Pile-CC", "Wikipedia (en)"]),
        st.floats(0, 1e4),
        st.integers(1, 10_000),
    ),
    min_size=1,
    max_size=20,
)


@given(documents)
def test_bits_per_byte_of_any_documents(drawn: list[tuple[str, float, int]]) -> None:
    outcomes = [predicted(str(n), nats, size, group) for n, (group, nats, size) in enumerate(drawn)]

    def bits(rows: list[tuple[str, float, int]]) -> float:
        return sum(nats for _, nats, _ in rows) / sum(size for *_, size in rows) / math.log(2)

    by_set = {name: bits([row for row in drawn if row[0] == name]) for name, *_ in drawn}
    assert value("bits_per_byte", outcomes) == pytest.approx(bits(drawn))
    assert value("bits_per_byte", outcomes, "macro") == pytest.approx(sum(by_set.values()) / len(by_set))
    weighed = {name: bpb for name, bpb in by_set.items() if name in PILE_SHARES}
    if weighed:
        total = sum(PILE_SHARES[name] * bpb for name, bpb in weighed.items())
        assert value("pile_weighted", outcomes) == pytest.approx(total / sum(PILE_SHARES[name] for name in weighed))
    else:
        assert math.isnan(value("pile_weighted", outcomes))


def _one_nat_a_byte() -> Iterator[Predicted]:
    for n, name in enumerate(PILE_SHARES):
        yield predicted(str(n), 7.0 * (n + 1), 7 * (n + 1), name)


def test_one_nat_a_byte_is_known_bits_by_any_average() -> None:
    outcomes = list(_one_nat_a_byte())
    for name, aggregate in (("bits_per_byte", "micro"), ("bits_per_byte", "macro"), ("pile_weighted", "micro")):
        assert value(name, outcomes, aggregate) == pytest.approx(1.4426950408889634)


@pytest.mark.parametrize(("nats", "words", "expected"), [(10, 5, math.e**2), (0, 3, 1), (1e6, 2, math.exp(20))])
def test_perplexity_is_by_word_and_ends_at_e_to_the_twentieth(nats: float, words: int, expected: float) -> None:
    assert value("word_perplexity", [predicted("a", nats, words)]) == pytest.approx(expected)


def test_a_few_long_documents_are_measured_window_by_window() -> None:
    windows = ((30.0, 20), (20.0, 20), (10.0, 10))
    long = Predicted(question("long"), 60.0, tokens=50, words=100, bytes=500, windows=windows)
    short = Predicted(question("short"), 5.0, tokens=4, words=3, bytes=20, windows=((5.0, 4),))
    units = METRICS["word_perplexity"].units([long, short])
    assert [(unit.id, unit.parts) for unit in units] == [
        ("long@0", (30.0, 40.0)),
        ("long@1", (20.0, 40.0)),
        ("long@2", (10.0, 20.0)),
        ("short", (5.0, 3.0)),
    ]
    whole = METRICS["word_perplexity"].value(np.array([[65.0, 103.0]]))
    assert METRICS["word_perplexity"].value(np.array([np.sum([unit.parts for unit in units], axis=0)])) == whole
    many = [replace(long, question=question(str(n))) for n in range(FEW_DOCUMENTS)]
    assert len(METRICS["bits_per_byte"].units(many)) == FEW_DOCUMENTS
