"""The arithmetic of the ledger, and its page."""

from __future__ import annotations

import copy
import json
import random
import unicodedata
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glm130b.corpus.ledger import FILTERS, Tally, contamination_by_task, fingerprint
from glm130b.corpus.page import render, share
from glm130b.corpus.records import Outcome
from glm130b.corpus.samples import Samples, excerpt

REASONS = {
    "read": ["not UTF-8", "too long"],
    "normalise": ["empty"],
    "language": ["language: fr"],
    "quality": ["too short", "no sentences"],
    "exact": ["exact duplicate"],
    "near": ["near duplicate"],
    "contamination": ["contaminated"],
    "train": [""],
    "heldout": [""],
}

DOCUMENTS = st.lists(
    st.tuples(
        st.sampled_from(["news", "books"]),
        st.sampled_from(["en", "zh", "fr"]),
        st.sampled_from([(stage, reason) for stage, reasons in REASONS.items() for reason in reasons]),
        st.integers(0, 900),
    ),
    max_size=60,
)


def document(stage: str, size: int) -> dict[str, int]:
    """Made-up numbers of one document that got as far as ``stage``."""
    was_read = stage != "read"
    kept = stage in ("train", "heldout", "contamination")
    return {
        "documents": 1,
        "source_bytes": size + 10,
        "num_bytes": size if was_read else 0,
        "num_tokens": size // 4 + 1 if was_read else 0,
        "kept_bytes": size // 2 if kept else 0,
        "kept_tokens": size // 8 + 1 if kept else 0,
        "is_changed": int(was_read and size % 3 == 0),
    }


def facts(documents: list[tuple[str, tuple[str, str], int]]) -> dict[str, Any]:
    """What stage ``write`` would say of a part."""
    found: dict[tuple[str, str, str], dict[str, int]] = {}
    for language, (stage, reason), size in documents:
        sums = found.setdefault((language, stage, reason), {})
        for name, value in document(stage, size).items():
            sums[name] = sums.get(name, 0) + value
    rows = [{"language": key[0], "stage": key[1], "reason": key[2], **sums} for key, sums in found.items()]
    return {"counts": rows, "licenses": {"CC0": [len(documents), 5]}, "samples": [], "shards": []}


@given(DOCUMENTS, st.integers(1, 4))
def test_the_funnel_equals_a_recount(documents: list[tuple[str, str, tuple[str, str], int]], num_parts: int) -> None:
    tally = Tally()
    for number in range(num_parts):
        for source in ("news", "books"):
            tally.add(source, facts([d[1:] for d in documents[number::num_parts] if d[0] == source]))
    order = [*FILTERS, "train", "heldout"]
    for row in [{"source": None, **tally.total()}, *tally.sources()]:
        mine = [
            (stage, reason, document(stage, size))
            for source, language, (stage, reason), size in documents
            if row["source"] in (None, source) and row.get("language", language) == language
        ]
        for place, entry in enumerate(row["stages"]):
            assert entry["stage"] == order[place]
            reached = [d for d in mine if order.index(d[0]) >= place]
            passed = [d for d in reached if order.index(d[0]) > place]
            assert entry["in"]["documents"] == len(reached)
            assert entry["out"]["documents"] == len(passed)
            dropped = {reason: sum(d[1] == reason for d in reached if d[0] == entry["stage"]) for _, reason, _ in mine}
            found = {reason: counts["documents"] for reason, counts in entry["dropped"].items()}
            assert found == {reason: count for reason, count in dropped.items() if count}
            for name in ("bytes", "tokens"):
                gone = sum(counts[name] for counts in entry["dropped"].values())
                assert entry["in"][name] - gone - entry[f"changed_{name}"] == entry["out"][name]
            changes = {"normalise": "bytes", "contamination": "bytes tokens"}.get(entry["stage"], "")
            for name in {"bytes", "tokens"} - set(changes.split()):
                assert entry[f"changed_{name}"] == 0
            if 0 < place < len(FILTERS) - 1:
                assert entry["out"]["bytes"] == sum(d[2]["num_bytes"] for d in passed)
                assert entry["out"]["tokens"] == sum(d[2]["num_tokens"] for d in passed)
        for before, after in zip(row["stages"][:-1], row["stages"][1:], strict=True):
            assert before["out"] == after["in"]
        last = row["stages"][-1]["out"]
        assert {name: row["train"][name] + row["heldout"][name] for name in last} == last
        assert row["changed_by_normalisation"] == sum(d[2]["is_changed"] for d in mine)
    assert tally.licenses() == [
        {
            "source": source,
            "license": "CC0",
            "documents": sum(document[0] == source for document in documents),
            "tokens": 5 * num_parts,
        }
        for source in ("news", "books")
    ]


def test_sources_stand_in_the_order_of_the_recipe() -> None:
    tally = Tally()
    for source, languages in (("zebra", ["fr", "zh", "en"]), ("ant", ["zh"])):
        tally.add(source, facts([(language, ("train", ""), 8) for language in languages]))
    order = [(row["source"], row["language"]) for row in tally.sources()]
    assert order == [("zebra", "en"), ("zebra", "zh"), ("zebra", "fr"), ("ant", "zh")]


def test_three_samples_of_each_kind() -> None:
    parts = [Samples() for _ in range(3)]
    for number in range(9):
        kind = ("en", Outcome("quality", "too short")) if number % 2 else ("zh", Outcome("read", "not UTF-8"))
        parts[number // 3].add(*kind, f"d{number}", f"text {number}")
    merged = Samples()
    for part in parts:
        merged.merge(json.loads(json.dumps(part.rows())))
    kept = {row["language"]: [sample["id"] for sample in row["samples"]] for row in merged.rows()}
    assert kept == {"zh": ["d0", "d2", "d4"], "en": ["d1", "d3", "d5"]}
    assert not merged.wants("en", Outcome("quality", "too short"))
    assert merged.wants("en", Outcome("quality", "no sentences"))


@given(st.text(max_size=800))
def test_an_excerpt_is_short_and_on_one_line(text: str) -> None:
    found = excerpt(text)
    assert len(found) <= 300
    assert len(found.splitlines()) <= 1
    assert " ".join(text.split()).startswith(found.removesuffix("…"))


def test_the_fingerprint_follows_names_and_contents_alone() -> None:
    shards = [{"file": f"a.en/train-{n:05d}.bin", "sha256": f"{n:064x}", "bytes": n} for n in range(5)]
    moved = random.Random(1).sample(shards, 5)
    assert fingerprint(shards) == fingerprint(moved)
    for change in ({"file": "b.en/train-00000.bin"}, {"sha256": "f" * 64}):
        other = copy.deepcopy(shards)
        other[0] |= change
        assert fingerprint(other) != fingerprint(shards)


def test_contamination_is_counted_by_task(tmp_path: Path) -> None:
    path = tmp_path / "contamination.jsonl"
    hits = [
        ("squad", "q1", "news", "d1", "logged"),
        ("squad", "q1", "news", "d1", "dropped document"),
        ("glue", "r7", "news", "d1", "logged"),
        ("squad", "q2", "news", "d1", "logged"),
        ("squad", "q1", "books", "d1", "cut"),
    ]
    names = ("task", "item", "source", "document", "action")
    path.write_text("".join(json.dumps(dict(zip(names, hit, strict=True))) + "\n" for hit in hits))
    assert contamination_by_task(path) == {
        "glue": {"passages": 1, "documents": 1, "items_found": 1, "acted_on": 0},
        "squad": {"passages": 4, "documents": 2, "items_found": 2, "acted_on": 2},
    }


class _Page(HTMLParser):
    """The text of a page, and whether its tags close."""

    VOID = frozenset({"meta", "br", "hr", "img", "link"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        assert not {"src", "href"} & {name for name, _ in attrs}
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def page_ledger() -> dict[str, Any]:
    tally = Tally()
    rows = [("en", ("train", ""), 4000)] * 5 + [
        ("en", ("quality", "too short"), 3),
        ("en", ("near", "near duplicate"), 9),
    ]
    samples = Samples()
    samples.add("en", Outcome("quality", "too short"), "<script>alert(1)</script>", "a & b \x00\x1b\u202e\ue000c")
    witness = {"id": "w1", "excerpt": "first"}
    samples.add("en", Outcome("near", "near duplicate"), "d9", "second", witness=witness)
    shards = [{"file": "news.en/train-00000.bin", "bytes": 90, "sha256": "ab", "documents": 5, "tokens": 45}]
    tally.add("news", {**facts(rows), "samples": samples.rows(), "shards": shards})
    return {
        "fingerprint": "abc",
        "inputs": {"news.jsonl": 5},
        "inputs_left_out": ["README.md"],
        "tokenizer": {"name": "bundled", "fingerprint": "f"},
        "versions": {"glm130b": "1"},
        "total": tally.total(),
        "sources": tally.sources(),
        "samples": tally.samples(),
        "licenses": tally.licenses(),
        "contamination": {
            "action": "drop-document",
            "n": 13,
            "min_overlap": 0.1,
            "skipped": ["x.pdf"],
            "tasks": {"squad": {"items": 7, "passages": 0, "documents": 0, "items_found": 0, "acted_on": 0}},
        },
        "shards": shards,
    }


def test_the_page_says_what_the_ledger_says() -> None:
    page = _Page()
    page.feed(render(page_ledger()))
    assert page.open == []
    assert page.text.count("Near duplicates") == 3  # the funnel, the source and the reason
    assert "script" not in page.tags
    text = " ".join("".join(page.text).split())
    for words in (
        "Read: 7 documents from 1 file. In this corpus: 5 documents (71.4 %).",
        "1 document3 tokens",
        "a & b \ufffd\ufffd\ufffd\ufffdc",
        "<script>alert(1)</script>",
        "repeats w1",
        "README.md",
        "x.pdf",
    ):
        assert words in text
    assert "CC0" in text
    assert not [character for character in "".join(page.text) if unicodedata.category(character) in ("Cf", "Co")]


def test_long_lists_of_names_are_cut() -> None:
    page = render({**page_ledger(), "inputs_left_out": [f"{n}.md" for n in range(1025)]})
    assert "19.md and 1,005 more." in page
    assert "20.md" not in page


def test_the_page_of_an_empty_corpus() -> None:
    ledger = page_ledger()
    empty = Tally()
    ledger |= {"total": empty.total(), "sources": [], "samples": [], "licenses": [], "shards": []}
    ledger["contamination"] |= {"tasks": {}}
    assert "None was." in render(ledger)


@pytest.mark.parametrize(
    ("part", "whole", "text"), [(0, 0, "0 %"), (0, 9, "0 %"), (1, 9999, "< 0.1 %"), (1, 8, "12.5 %"), (9, 9, "100.0 %")]
)
def test_a_share_is_not_rounded_to_nothing(part: int, whole: int, text: str) -> None:
    assert share(part, whole) == text
