"""Documents out of files, and what is said of files that hold none."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from glm130b.corpus import Document, read_documents
from glm130b.errors import DataError


def read(*paths: str | Path) -> list[Document]:
    return list(read_documents(paths))


def refused(*paths: str | Path) -> str:
    with pytest.raises(DataError) as caught:
        read(*paths)
    assert caught.value.next_step
    return caught.value.problem


def lines(path: Path, *records: object) -> Path:
    content = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_json_lines(tmp_path: Path, name: str) -> None:
    full = {"id": "x", "text": "一二", "lang": "zh", "source": "s", "license": "l", "else": 5}
    path = lines(tmp_path / name, full, {"text": "b"}, {"text": ""}, {"id": 7, "text": "c\u2028d", "lang": None})
    assert read(path) == [
        Document("x", "一二", "zh", "s", "l"),
        Document(f"{name}:2", "b"),
        Document("7", "c\u2028d"),
    ]


def test_only_strings_and_numbers_are_labels(tmp_path: Path) -> None:
    odd = {"id": ["a"], "text": "b", "lang": {"code": "en"}, "source": True, "license": None}
    numbers = {"id": 7.5, "text": "c", "lang": 1}
    (tmp_path / "a.jsonl").write_text("\n".join([json.dumps(odd), json.dumps(numbers), '{"id": NaN, "text": "d"}']))
    assert read(tmp_path / "a.jsonl") == [
        Document("a.jsonl:1", "b"),
        Document("7.5", "c", "1"),
        Document("a.jsonl:3", "d"),
    ]


def test_blank_lines_and_a_missing_last_newline(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'\n{"text": "a"}\r\n  \n{"text": "b"}')
    assert [(document.id, document.text) for document in read(tmp_path / "a.jsonl")] == [
        ("a.jsonl:2", "a"),
        ("a.jsonl:4", "b"),
    ]


def test_text_files_are_kept_to_the_byte(tmp_path: Path) -> None:
    text = "\ufeffa\r\nb\x00\n\n  c\t"
    (tmp_path / "a.txt").write_bytes(text.encode())
    assert read(tmp_path / "a.txt") == [Document("a.txt", text)]


def test_folders_by_sorted_name_and_paths_in_the_order_given(tmp_path: Path) -> None:
    for name in ("b.txt", "a/z.txt", "a/y.jsonl", "c.jsonl.gz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        if name.endswith("txt"):
            (tmp_path / name).write_text(name)
        else:
            lines(tmp_path / name, {"text": name})
    (tmp_path / "notes.md").write_text("left out")
    assert [document.text for document in read(tmp_path)] == ["a/y.jsonl", "a/z.txt", "b.txt", "c.jsonl.gz"]
    assert [document.text for document in read(tmp_path / "b.txt", tmp_path / "a")] == ["b.txt", "a/y.jsonl", "a/z.txt"]


def test_links_are_followed_and_nothing_is_lost(tmp_path: Path) -> None:
    (tmp_path / "else").mkdir()
    lines(tmp_path / "else" / "a.jsonl", {"text": "a"})
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link").symlink_to(tmp_path / "else")
    assert [document.text for document in read(tmp_path / "in")] == ["a"]
    (tmp_path / "in" / "gone.jsonl").symlink_to("nowhere")
    assert refused(tmp_path / "in") == f"{tmp_path / 'in' / 'gone.jsonl'} is a link that leads nowhere."


@pytest.mark.parametrize("path", ["bundled:en", Path("bundled:zh")])
def test_bundled(path: str | Path) -> None:
    documents = read(path)
    assert len(documents) > 100
    assert len({document.id for document in documents}) == len(documents)
    assert {document.lang for document in documents} == {str(path)[-2:]}
    assert all(document.source and document.license for document in documents)


def test_what_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x")
    assert "There is no file or folder" in refused(tmp_path / "nope.jsonl")
    assert "of a kind this version does not read" in refused(tmp_path / "a.csv")
    assert "no bundled corpus 'fr'" in refused("bundled:fr")
    assert "x" * 5000 in refused("x" * 5000)
    lines(tmp_path / "good.jsonl", {"text": "a"})
    assert "There is no file or folder" in refused(tmp_path / "good.jsonl", tmp_path / "nope.jsonl")


def test_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch()
    lines(tmp_path / "b.jsonl", {"text": ""})
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "a.txt", tmp_path / "b.jsonl", tmp_path / "empty", tmp_path):
        assert f"There is no text in {path}" in refused(path)


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("a.jsonl", b'{"text": "a"}\n\n{"text": "\xe9"}\n', 3),
        ("a.txt", b"one\ntwo\nthree \xff\n", 3),
        ("utf16.txt", "ab".encode("utf-16"), 1),
        ("cut.txt", "一".encode()[:2], 1),
    ],
)
def test_not_utf8(tmp_path: Path, name: str, content: bytes, line: int) -> None:
    (tmp_path / name).write_bytes(content)
    assert refused(tmp_path / name) == f"{tmp_path / name}, line {line}, is not UTF-8."


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"text": "a"', "Expecting ',' delimiter"),
        ("plain text", "Expecting value"),
        ('{"txt": "a"}', "no object with a text"),
        ('["text"]', "no object with a text"),
        ('"text"', "no object with a text"),
        ('{"text": null}', "its text is no string"),
        ('{"text": ["a"]}', "its text is no string"),
        (r'{"text": "a\ud800b"}', "half a surrogate pair"),
        (r'{"text": "a", "id": "\udfff"}', "half a surrogate pair"),
        ('{"text": ' + "[" * 100_000, "nested too deeply"),
        ("\ufeff" + '{"text": "a"}', "BOM"),
        ('{"text": "a", "n": ' + "1" * 5000 + "}", "4300 digits"),
    ],
)
def test_malformed_lines(tmp_path: Path, line: str, reason: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "fine"}\n' + line + "\n", encoding="utf-8")
    problem = refused(path)
    assert f"{path}, line 2, is not a document" in problem
    assert reason in problem


def test_a_surrogate_pair_is_a_character(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(r'{"text": "\ud83d\ude00"}')
    assert read(tmp_path / "a.jsonl")[0].text == "\U0001f600"


def test_good_documents_come_before_the_bad_line(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\nbad\n')
    stream = read_documents([tmp_path / "a.jsonl"])
    assert next(stream).text == "a"
    with pytest.raises(DataError, match="line 2"):
        next(stream)


def test_damaged_gzip(tmp_path: Path) -> None:
    whole = lines(tmp_path / "a.jsonl.gz", *({"text": f"document {n} " * 20} for n in range(500))).read_bytes()
    path = tmp_path / "b.jsonl.gz"
    for content in (whole[: len(whole) // 2], whole[:-1], b'{"text": "a"}\n'):
        path.write_bytes(content)
        assert f"{path} cannot be read" in refused(path)
    for place in range(12, len(whole), len(whole) // 50):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        assert str(path) in refused(path)
