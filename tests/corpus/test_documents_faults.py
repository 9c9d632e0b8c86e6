"""Reading on past what is no document, and the kinds of files that need a library."""

from __future__ import annotations

import gzip
import json
import random
import sys
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pytest
import zstandard
from pyarrow import parquet

from glm130b.corpus import Document, read_documents
from glm130b.corpus.documents import Fault, read_file
from glm130b.errors import DataError


def read(path: Path, limit: int = 1000) -> list[Document | Fault]:
    told: list[int] = []
    found = list(read_file(path, max_document_bytes=limit, advance=told.append))
    assert sum(told) == path.stat().st_size
    return found


def compressed(path: Path, content: bytes) -> Path:
    make = {".gz": gzip.compress, ".zst": CHECKED.compress}.get(path.suffix, bytes)
    path.write_bytes(make(content))
    return path


CHECKED = zstandard.ZstdCompressor(write_checksum=True)
"""As the zstd program writes frames."""

FAULTY = b"".join(
    line + b"\n"
    for line in (
        b"\xef\xbb\xbf" + b'{"text": "first"}',
        b'{"text": "caf\xe9", "id": "lost"}',
        b"",
        b'{"text": " \\n", "id": "blank"}',
        b'{"txt": 1}',
        b'{"text": "' + b"y" * 1500 + b'"}',
        b'{"text": "\\ud800"}',
        b'{"text": "last", "id": 9, "lang": "en", "license": "CC0"}',
    )
)


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.jsonl.zst"])
def test_faults_are_reported_and_passed_over(tmp_path: Path, name: str) -> None:
    path = compressed(tmp_path / name, FAULTY)
    sizes = [len(line) + 1 for line in FAULTY.split(b"\n")]
    starts = [sum(sizes[:n]) for n in range(len(sizes))]
    found = read(path)
    assert found[0] == Document(f"{name}@0", "first")
    assert found[-1] == Document("9", "last", "en", "", "CC0")
    faults = [(item.id, item.reason, item.num_bytes) for item in found if isinstance(item, Fault)]
    assert faults == [
        (f"{name}@{starts[1]}", "not UTF-8", sizes[1]),
        ("blank", "empty", sizes[3]),
        (f"{name}@{starts[4]}", "not a document", sizes[4]),
        (f"{name}@{starts[5]}", "too long", 1513),
        (f"{name}@{starts[6]}", "not a document", sizes[6]),
    ]
    excerpts = [item.excerpt for item in found if isinstance(item, Fault)]
    assert excerpts[0] == '{"text": "caf\ufffd", "id": "lost"}'
    assert excerpts[3].startswith('{"text": "yyy')
    assert max(map(len, excerpts)) <= 300


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.jsonl.zst"])
def test_a_line_as_long_as_a_file_takes_little_memory(tmp_path: Path, name: str) -> None:
    path = compressed(tmp_path / name, b'{"text": "' + b"z" * 40_000_000 + b'"}\n{"text": "after"}\n')
    list(read_file(path, max_document_bytes=10))
    tracemalloc.start()
    found = list(read_file(path, max_document_bytes=100_000))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [getattr(item, "reason", "") for item in found] == ["too long", ""]
    assert isinstance(found[0], Fault)
    assert found[0].num_bytes == 40_000_013
    assert peak < 25_000_000


def test_text_files(tmp_path: Path) -> None:
    for name, content in (("a", b"fine"), ("b", b"x" * 1001), ("c", b"one\ntwo \xff"), ("d", b" \n"), ("e", b"")):
        (tmp_path / f"{name}.txt").write_bytes(content)
    assert read(tmp_path / "a.txt") == [Document("a.txt", "fine")]
    for name, reason, size in (("b", "too long", 1001), ("c", "not UTF-8", 9), ("d", "empty", 2), ("e", "empty", 0)):
        (fault,) = read(tmp_path / f"{name}.txt")
        assert isinstance(fault, Fault)
        assert (fault.id, fault.reason, fault.num_bytes) == (f"{name}.txt", reason, size)


def test_zstd_frames_and_their_faults(tmp_path: Path) -> None:
    lines = [json.dumps({"text": f"document {n} {random.Random(n).random()}"}).encode() + b"\n" for n in range(3000)]
    halves = [CHECKED.compress(b"".join(part)) for part in (lines[:1500], lines[1500:])]
    path = tmp_path / "a.jsonl.zst"
    path.write_bytes(halves[0] + halves[1])
    assert [document.text for document in read_documents([path])] == [json.loads(line)["text"] for line in lines]
    whole = path.read_bytes()
    for content in (whole[:-1], whole[: len(halves[0]) + 3], whole[:5000], whole + b"more", b"{}\n", b""):
        path.write_bytes(content)
        with pytest.raises(DataError, match=rf"{path} cannot be read"):
            list(read_file(path))
    path.write_bytes(whole[:9000] + bytes([whole[9000] ^ 0xFF]) + whole[9001:])
    with pytest.raises(DataError, match=str(path)):
        list(read_documents([path]))


def test_an_empty_gzip_file_is_cut_short(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl.gz").touch()
    with pytest.raises(DataError, match="it is empty"):
        list(read_file(tmp_path / "a.jsonl.gz"))


TEXTS = ["one", "二", None, "", "w" * 1001, "\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16"), "last"]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_parquet(tmp_path: Path, kind: pa.DataType) -> None:
    path = tmp_path / "a.parquet"
    table = pa.table(
        {
            "text": pa.array(TEXTS).cast(kind),
            "id": pa.array([None, 2, 3, 4, 5, 6, 7]),
            "lang": pa.array(["en", None, "zh", "zh", "zh", "zh", "zh"]),
            "score": pa.array([0.5] * 7),
        }
    )
    parquet.write_table(table, path, row_group_size=3)
    found = read(path)
    assert [item for item in found if isinstance(item, Document)] == [
        Document("a.parquet:1", "one", "en"),
        Document("2", "二", ""),
        Document("6", "\U0001f600", "zh"),
        Document("7", "last", "zh"),
    ]
    faults = [(item.id, item.reason, item.num_bytes) for item in found if isinstance(item, Fault)]
    assert faults == [("3", "empty", 0), ("4", "empty", 0), ("5", "too long", 1001)]
    assert [document.text for document in read_documents([path])] == [text for text in TEXTS if text]


def test_parquet_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.parquet"
    for columns in ({"body": ["a"]}, {"text": [1, 2]}, {"text": [["a"]]}):
        parquet.write_table(pa.table(columns), path)
        with pytest.raises(DataError, match="has no column text that holds strings"):
            list(read_file(path))
    parquet.write_table(pa.table({"text": [f"text {n}" * 50 for n in range(1000)]}), path, compression="none")
    whole = path.read_bytes()
    for content in (whole[:-1], whole[: len(whole) // 2], b"", b"PAR1"):
        path.write_bytes(content)
        with pytest.raises(DataError, match=rf"{path} cannot be read"):
            list(read_documents([path]))
    path.write_bytes(whole)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DataError, match="pyarrow is not installed") as caught:
        list(read_documents([path]))
    assert "glm130b[parquet]" in caught.value.next_step


def test_parquet_strings_that_are_no_utf8(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    bad = pa.array([b"fine", b"caf\xe9"]).view(pa.string())
    parquet.write_table(pa.table({"text": bad}), path)
    found = read(path)
    assert found[0] == Document("a.parquet:1", "fine")
    assert isinstance(found[1], Fault)
    assert (found[1].reason, found[1].place) == ("not UTF-8", "row 2")
    with pytest.raises(DataError, match=r"row 2, is not UTF-8"):
        list(read_documents([path]))
