"""Evaluation files of every layout as items."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from glm130b.corpus.evaluation_items import evaluation_files, read_items
from glm130b.errors import DataError


def items(path: Path) -> list[tuple[str, tuple[str, ...]]]:
    files, _ = evaluation_files([path])
    return [(item.name, item.texts) for task, file, name in files for item in read_items(task, file, name)]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.txt", "one\n\n two \n", [("a.txt#0", ("one",)), ("a.txt#2", (" two ",))]),
        ("a.tokens", " = Title = \n", [("a.tokens#0", (" = Title = ",))]),
        ("a.tsv", 'x\t"quoted\ny\tz\n', [("a.tsv#0", ("x", '"quoted')), ("a.tsv#1", ("y", "z"))]),
        ("a.csv", 'q,"two\nlines, one cell",A\n', [("a.csv#0", ("q", "two\nlines, one cell", "A"))]),
        ("a.csv", "text;label\nfoo, bar;1\n", [("a.csv#0", ("text", "label")), ("a.csv#1", ("foo, bar", "1"))]),
        ("a.jsonl", '{"q": "x", "n": 1, "c": ["y", {"d": "z"}]}\n', [("a.jsonl#0", ("x", "y", "z"))]),
        ("a.json", '{"q": "x"}\n{"q": "y"}\n', [("a.json#0", ("x",)), ("a.json#1", ("y",))]),
        (
            "squad.json",
            '{"version": "v", "data": [{"paragraphs": [{"context": "c", "qas": [{"question": "q", "answers": '
            '[{"text": "a"}]}]}]}]}',
            [
                ("squad.json#", ("v",)),
                ("squad.json#data[0].paragraphs[0]", ("c",)),
                ("squad.json#data[0].paragraphs[0].qas[0]", ("q",)),
                ("squad.json#data[0].paragraphs[0].qas[0].answers[0]", ("a",)),
            ],
        ),
        ("pubmed.json", '{"123": {"q": "x", "c": ["y"]}}', [("pubmed.json#123", ("x", "y"))]),
        (
            "c3.json",
            '[[["line one", "line two"], [{"question": "q", "choice": ["a", "b"]}], "7-1"]]',
            [("c3.json#[0]", ("line one", "line two", "7-1")), ("c3.json#[0][1][0]", ("q", "a", "b"))],
        ),
        (
            "w.xml",
            "<set><schema><text>A <pron>it</pron> B</text></schema><schema><text>C</text></schema></set>",
            [("w.xml#/schema[0]", ("A ", "it", " B")), ("w.xml#/schema[1]", ("C",))],
        ),
    ],
)
def test_layouts(tmp_path: Path, name: str, content: str, expected: list[tuple[str, tuple[str, ...]]]) -> None:
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    assert items(path) == expected


def test_packed_files_and_odd_bytes(tmp_path: Path) -> None:
    import zstandard

    line = json.dumps({"text": "inside"}).encode()
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(line))
    (tmp_path / "b.jsonl.zst").write_bytes(zstandard.compress(line))
    (tmp_path / "c.xml").write_bytes('<?xml version="1.0" encoding="ISO-8859-1"?><a>caf\xe9</a>'.encode("latin-1"))
    (tmp_path / "d.txt").write_bytes(b"\xef\xbb\xbfmark and \xff byte")
    assert [texts for _, texts in items(tmp_path)] == [("inside",), ("inside",), ("café",), ("mark and \ufffd byte",)]


def test_parquet(tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    parquet.write_table(pa.table({"q": ["x", "y"], "n": [1, 2], "c": [["a"], []]}), tmp_path / "a.parquet")
    assert items(tmp_path / "a.parquet") == [("a.parquet#0", ("x", "a")), ("a.parquet#1", ("y",))]


def test_tasks_and_what_is_left_out(tmp_path: Path) -> None:
    names = (
        "citation_intent/manifesto.txt",
        "clue/afqmc/dev.json",
        "clue/README.md",
        "mip/x.jsonl",
        "LICENSES/a.txt",
        "top.jsonl",
        "clue/pic.png",
    )
    for inside in names:
        path = tmp_path / "sets" / inside
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    files, skipped = evaluation_files([tmp_path / "sets"], exclude=["mip"])
    assert [(task, name) for task, _, name in files] == [
        ("citation_intent", "citation_intent/manifesto.txt"),
        ("clue", "clue/afqmc/dev.json"),
        ("sets", "top.jsonl"),
    ]
    assert [path.name for path in skipped] == ["a.txt", "README.md", "pic.png"]


def test_links_are_followed_and_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "dev.jsonl").write_text("{}")
    (tmp_path / "sets").mkdir()
    (tmp_path / "sets" / "task").symlink_to(tmp_path / "elsewhere")
    assert [(task, name) for task, _, name in evaluation_files([tmp_path / "sets"])[0]] == [("task", "task/dev.jsonl")]
    (tmp_path / "sets" / "gone").symlink_to(tmp_path / "nowhere")
    with pytest.raises(DataError, match="gone is a link that leads nowhere"):
        evaluation_files([tmp_path / "sets"])


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.json", b'{"x": ', "Expecting value"),
        ("a.jsonl", b"{}\n{oops\n", "Expecting property name"),
        ("a.jsonl.gz", gzip.compress(b'{"a": "b"}', mtime=0)[:-6], "ended before"),
        ("a.jsonl.zst", b"no zstandard", "."),
        ("a.xml", b"<a><b></a>", "mismatched tag"),
        ("a.parquet", b"no parquet", "."),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=rf"The evaluation file .*{name} cannot be read: .*{reason}"):
        items(tmp_path / name)


def test_paths_without_anything(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="There is no evaluation set"):
        evaluation_files([tmp_path / "nope"])
    (tmp_path / "README.md").write_text("about")
    with pytest.raises(DataError, match="holds no evaluation file that can be read"):
        evaluation_files([tmp_path])
