"""Parts against their files: nothing twice, nothing missing, whatever the cuts."""

from __future__ import annotations

import gzip
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glm130b.config import BuildConfig, CorpusSource
from glm130b.corpus import Document
from glm130b.corpus.documents import Fault
from glm130b.corpus.parts import Part, Slice, plan_parts, read_part
from glm130b.errors import DataError


def recipe(part_bytes: int = 1000, **sources: Any) -> BuildConfig:
    named = {name: CorpusSource(path=path) for name, path in sources.items()}
    return BuildConfig(sources=named, part_bytes=part_bytes)


def contents(parts: list[Part], limit: int = 10**6) -> tuple[list[Document | Fault], int]:
    """What is read of all parts, and how many bytes that was said to be."""
    told: list[int] = []
    found = [item for part in parts for item in read_part(part, max_document_bytes=limit, advance=told.append)]
    return found, sum(told)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.one_of(st.just(b""), st.text("ab一", max_size=12).map(lambda t: json.dumps({"text": t}).encode()))),
    st.sampled_from([b"\n", b"\r\n"]),
    st.booleans(),
    st.integers(1, 70),
    st.sampled_from([5, 25, 10**6]),
)
def test_cuts_change_nothing(lines: list[bytes], newline: bytes, ends: bool, part_bytes: int, limit: int) -> None:
    content = newline.join(lines) + (newline if ends else b"")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.jsonl"
        path.write_bytes(content)
        parts = plan_parts(recipe(part_bytes, s=str(path)))
        assert [part.number for part in parts] == list(range(len(parts)))
        assert sum(part.num_bytes for part in parts) == len(content)
        assert all(part.num_bytes <= part_bytes for part in parts)
        found, told = contents(parts, limit)
        whole, _ = contents([Part(0, "s", (Slice(path, 0, None),), len(content))], limit)
        assert [vars(item) | {"place": ""} for item in found] == [vars(item) | {"place": ""} for item in whole]
        assert told == len(content)
        places = [int(item.id.removeprefix("a.jsonl@")) for item in found]
        starts = [sum(len(line) + len(newline) for line in lines[:n]) for n, line in enumerate(lines)]
        assert places == [start for start, line in zip(starts, lines, strict=True) if line.strip()]
        ended = [line + newline for line in lines[:-1]] + [line + newline * ends for line in lines[-1:]]
        for item, line in zip(found, (line for line in ended if line.strip()), strict=True):
            too_long = len(line.removesuffix(b"\n")) > limit
            text = json.loads(line)["text"]
            assert getattr(item, "reason", "") == ("too long" if too_long else "" if text else "empty")
            assert not isinstance(item, Document) or item.text == text


def test_small_files_share_parts_and_large_ones_are_cut(tmp_path: Path) -> None:
    for name, size in (("b/1.txt", 300), ("b/2.txt", 600), ("b/3.txt", 200), ("a.jsonl", 2500), ("z.jsonl.gz", 3000)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x" * size)
    (tmp_path / "b/notes.md").write_text("left out")
    parts = plan_parts(recipe(1000, folder=str(tmp_path), more=[str(tmp_path / "b"), str(tmp_path / "a.jsonl")]))
    folder = tmp_path
    assert [(part.number, part.source, part.slices, part.num_bytes) for part in parts] == [
        (0, "folder", (Slice(folder / "a.jsonl", 0, 833),), 833),
        (1, "folder", (Slice(folder / "a.jsonl", 833, 1666),), 833),
        (2, "folder", (Slice(folder / "a.jsonl", 1666, None),), 834),
        (3, "folder", (Slice(folder / "b/1.txt", 0, None), Slice(folder / "b/2.txt", 0, None)), 900),
        (4, "folder", (Slice(folder / "b/3.txt", 0, None),), 200),
        (5, "folder", (Slice(folder / "z.jsonl.gz", 0, None),), 3000),
        (6, "more", (Slice(folder / "b/1.txt", 0, None), Slice(folder / "b/2.txt", 0, None)), 900),
        (7, "more", (Slice(folder / "b/3.txt", 0, None),), 200),
        (8, "more", (Slice(folder / "a.jsonl", 0, 833),), 833),
        (9, "more", (Slice(folder / "a.jsonl", 833, 1666),), 833),
        (10, "more", (Slice(folder / "a.jsonl", 1666, None),), 834),
    ]


def test_what_cannot_be_planned(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n')
    (tmp_path / "empty").mkdir()
    for paths, problem in (
        (["nope.jsonl"], "There is no file or folder"),
        (["empty"], "Source s .* has no file that can be read"),
        (["a.jsonl", "empty/../a.jsonl"], "Source s names .* twice"),
    ):
        with pytest.raises(DataError, match=problem):
            plan_parts(recipe(s=[str(tmp_path / path) for path in paths]))


def test_bundled_sources() -> None:
    found, told = contents(plan_parts(recipe(200_000, en="bundled:en", zh="bundled:zh")))
    assert all(isinstance(item, Document) for item in found)
    assert {item.lang for item in found if isinstance(item, Document)} == {"en", "zh"}
    assert told == sum(part.num_bytes for part in plan_parts(recipe(en="bundled:en", zh="bundled:zh")))


def test_a_file_that_grows_is_read_to_its_end(tmp_path: Path) -> None:
    """What comes after the plan is not lost, so that the comparison of sizes can notice it."""
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"text": f"a{n}"}) + "\n" for n in range(20)))
    parts = plan_parts(recipe(100, s=str(path)))
    with path.open("a") as file:
        file.write('{"text": "later"}\n')
    assert [item.text for item in contents(parts)[0] if isinstance(item, Document)][-2:] == ["a19", "later"]


def test_a_line_over_several_parts(tmp_path: Path) -> None:
    """It belongs to the part where it begins; the parts it covers are empty."""
    path = tmp_path / "a.jsonl"
    texts = ["one", "x" * 500, "two"]
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    parts = plan_parts(recipe(60, s=str(path)))
    by_part = [[item.text for item in contents([part])[0] if isinstance(item, Document)] for part in parts]
    assert by_part[0] == ["one", "x" * 500]
    assert by_part[-1] == ["two"]
    assert not any(by_part[1:-1])


def test_compressed_bytes_are_told(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"text": "a"}\n' * 5000))
    found, told = contents(plan_parts(recipe(s=str(path))))
    assert (len(found), told) == (5000, path.stat().st_size)
