"""Dataset files as records of fields."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from glm130b.config import MipDataset
from glm130b.errors import DataError
from glm130b.instructions.formats import find_format, read_fields

ROWS = [{"a": "x", "n": 1}, {"a": 'two\nlines, "quoted"', "n": 2}]


def fields(path: Path | list[Path], **options: Any) -> list[dict[str, Any]]:
    paths = path if isinstance(path, list) else [path]
    dataset = MipDataset.model_validate({"path": [str(one) for one in paths], "templates": "t", **options})
    return list(read_fields(dataset))


def written(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    "content", [json.dumps(ROWS), json.dumps({"version": 1, "rows": ROWS}), json.dumps({"data": ROWS, "other": []})]
)
def test_json(tmp_path: Path, content: str) -> None:
    assert fields(written(tmp_path / "d.json", content)) == ROWS


def test_json_lines(tmp_path: Path) -> None:
    lines = "\ufeff" + "\n\n".join(json.dumps(row) for row in ROWS)
    assert fields(written(tmp_path / "d.jsonl", lines)) == ROWS
    assert fields(written(tmp_path / "d.jsonl.gz", gzip.compress(lines.encode()))) == ROWS


def test_csv(tmp_path: Path) -> None:
    path = written(tmp_path / "d.csv", 'a,n\r\nx,1\r\n\r\n"two\nlines, ""quoted""",2\r\n')
    assert fields(path) == [{"a": "x", "n": "1"}, {"a": 'two\nlines, "quoted"', "n": "2"}]
    assert fields(path, integers=["n"]) == ROWS


def test_tsv_leaves_quotation_marks_alone(tmp_path: Path) -> None:
    path = written(tmp_path / "d.tsv", 'a\tlabel\n"open\tno\nb"\tyes\n')
    assert fields(path, classes={"label": ["no", "yes"]}) == [{"a": '"open', "label": 0}, {"a": 'b"', "label": 1}]


def test_parquet(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    rows = [{**row, "l": ["p", "q"], "s": {"t": None}} for row in ROWS]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "d.parquet")
    assert fields(tmp_path / "d.parquet") == rows
    written(tmp_path / "d.parquet", (tmp_path / "d.parquet").read_bytes()[:-9])
    with pytest.raises(DataError, match="not a whole Parquet file"):
        fields(tmp_path / "d.parquet")


def test_folders_and_lists(tmp_path: Path) -> None:
    for name in ("b", "a"):
        written(tmp_path / "sub" / f"{name}.jsonl", json.dumps({"from": name}))
    assert fields(tmp_path) == [{"from": "a"}, {"from": "b"}]
    assert fields([tmp_path / "sub" / "b.jsonl", tmp_path / "sub" / "a.jsonl"]) == [{"from": "b"}, {"from": "a"}]


DREAM = [
    [["M: Hi.", "W: Hello."], [{"question": "q1", "choice": ["a", "b", "c"], "answer": "b"}], "1-2"],
    [["M: Two."], [{"question": q, "choice": ["a"], "answer": "a"} for q in ("q2", "q3")], "1-3"],
]


def test_dream(tmp_path: Path) -> None:
    path = written(tmp_path / "train.json", json.dumps(DREAM, indent=1))
    assert find_format(path, structured=False) == "dream"
    found = fields(path)
    assert found[0] == {
        "id": 0,
        "dialogue_id": "1-2",
        "dialogue": ["M: Hi.", "W: Hello."],
        "question": "q1",
        "choice": ["a", "b", "c"],
        "answer": "b",
    }
    assert [(record["dialogue_id"], record["question"]) for record in found] == [
        ("1-2", "q1"),
        ("1-3", "q2"),
        ("1-3", "q3"),
    ]


def test_qasc(tmp_path: Path) -> None:
    choices = [{"text": "sand", "label": "A"}, {"text": "air", "label": "B"}]
    entry = {"id": "i", "question": {"stem": "What?", "choices": choices}, "answerKey": "B", "fact1": "F"}
    path = written(tmp_path / "dev.jsonl", json.dumps(entry))
    assert find_format(path, structured=False) == "qasc"
    columns = {"text": ["sand", "air"], "label": ["A", "B"]}
    asked = {"question": "What?", "question_stem": "What?", "choices": columns}
    assert fields(path) == [{"id": "i", "answerKey": "B", "fact1": "F", **asked}]


def test_piqa(tmp_path: Path) -> None:
    path = written(tmp_path / "train.jsonl", '{"goal": "g", "sol1": "a", "sol2": "b"}\n' * 2)
    labels = written(tmp_path / "train-labels.lst", "1\n0\n")
    assert find_format(path, structured=False) == "piqa"
    assert fields(path) == [{"goal": "g", "sol1": "a", "sol2": "b", "label": label} for label in (1, 0)]
    written(labels, "1\n")
    with pytest.raises(DataError, match=r"has 2 questions, train-labels.lst 1 labels"):
        fields(path)
    written(labels, "1\n2\n")
    with pytest.raises(DataError, match=r"train-labels.lst, line 2: '2' is not 0 or 1"):
        fields(path)
    labels.unlink()
    with pytest.raises(DataError, match=r"train-labels.lst with the labels of train.jsonl is missing"):
        fields(path, format="piqa")


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("d.json", "[1]", "record 0 is no JSON object"),
        ("d.json", "3", "holds no list of records"),
        ("d.json", '{"a": [], "b": []}', "is an object with 2 lists"),
        ("d.json", "{}", "is an object with no lists"),
        ("d.json", '[\n{"a": }]', "line 2: this is not JSON"),
        ("d.json", "[" * 100_000, "this JSON cannot be read"),
        ("d.jsonl", '{"a": 1}\n[2]', "line 2: this is no JSON object"),
        ("d.jsonl", '{"a": 1}\n\n{"a"', "line 3: this is not JSON"),
        ("d.jsonl", b'{"a": 1}\n\xff', "line 2, is not UTF-8"),
        ("d.jsonl.gz", b"no gzip", "cannot be read"),
        ("d.csv", "a,b\n1,2\n3\n", "line 3: 1 values stand under 2 names"),
        ("d.csv", 'a,b\n1,"2\n', "this is not a table"),
        ("d.csv", "a,a\n1,2\n", "line 1: the first line names a column twice"),
        ("d.tsv", "a\t\n1\t2\n", "line 1: the first line names a column twice, or not at all"),
        ("d.json", '[[["l"], [{"question": "q"}], "n"]]', "entry 0 is not a dialogue"),
        ("d.xml", "<a/>", "is of no known format"),
        ("d.txt", "text", "is of no known format"),
        ("d.iob2", "a\tO\n", "is of the format genia, which templates are not made for"),
    ],
)
def test_malformed_files(tmp_path: Path, name: str, content: str | bytes, problem: str) -> None:
    path = written(tmp_path / name, content)
    with pytest.raises(DataError) as caught:
        fields(path)
    assert str(path) in caught.value.problem
    assert problem in caught.value.problem
    assert caught.value.next_step


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"integers": ["b"]}, "record 0 has no field 'b'"),
        ({"integers": ["a"]}, "record 0 has a field that is no number or class"),
        ({"classes": {"a": ["y"]}}, "record 0 has a field that is no number or class"),
    ],
)
def test_fields_that_are_not_what_the_recipe_says(tmp_path: Path, options: dict[str, Any], problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        fields(written(tmp_path / "d.csv", "a\nx\n"), **options)


def test_paths_that_do_not_help(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="There is no file or folder"):
        fields(tmp_path / "absent.jsonl")
    with pytest.raises(DataError, match="There is no file or folder"):
        fields(tmp_path / "absent.jsonl", format="jsonl")
    with pytest.raises(DataError, match="holds no file of a known format"):
        fields(tmp_path)
    written(tmp_path / "a.csv", "a\n1\n")
    with pytest.raises(DataError, match=r"holds no file that ends in \.tsv"):
        fields(tmp_path, format="tsv")
    written(tmp_path / "b.tsv", "a\n1\n")
    with pytest.raises(DataError, match="holds files of several formats"):
        fields(tmp_path)
