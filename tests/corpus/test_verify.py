"""What ``verify`` notices, and which ledgers are read."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from glm130b.corpus import num_files, read_ledger, verify
from glm130b.corpus.ledger import Tally, fingerprint
from glm130b.corpus.verify import write_checksums
from glm130b.errors import DataError
from glm130b.files import sha256_of_file, write_json

SHARDS = ("a.en/train-00000.bin", "a.en/train-00000.idx")


@pytest.fixture
def built(tmp_path: Path) -> Path:
    """A folder that only looks like a corpus."""
    (tmp_path / "a.en").mkdir()
    rows = []
    for name in (*SHARDS, "documents.jsonl.gz"):
        (tmp_path / name).write_bytes(name.encode() * 3)
        row = {"file": name, "bytes": len(name) * 3, "sha256": sha256_of_file(tmp_path / name)}
        rows.append(row | ({"documents": 1, "tokens": 9} if name in SHARDS else {}))
    ledger = {
        "schema": 1,
        "fingerprint": fingerprint(rows[:2]),
        "recipe": {},
        "inputs": {},
        "total": Tally().total(),
        "sources": [{"source": "a", "language": "en", **Tally().total()}],
        "licenses": [{"source": "a", "license": "CC0", "documents": 1, "tokens": 9}],
        "contamination": {"action": "none", "tasks": {}},
        "shards": rows[:2],
        "files": rows[2:],
    }
    write_json(tmp_path / "data_ledger.json", ledger)
    (tmp_path / "ledger.html").write_text("<p>")
    (tmp_path / "sources.yaml").write_text("data: {}")
    write_checksums(tmp_path)
    return tmp_path


def test_every_bad_file_is_named(built: Path) -> None:
    assert verify(built) == []
    shard = built / "a.en" / "train-00000.bin"
    shard.write_bytes(bytes([shard.read_bytes()[0] ^ 1]) + shard.read_bytes()[1:])
    (built / "a.en" / "train-00000.idx").write_bytes(b"short")
    (built / "documents.jsonl.gz").unlink()
    faults = verify(built)
    assert len(faults) == 3
    assert re.search(r"train-00000\.bin has other contents", faults[0])
    assert re.search(r"train-00000\.idx has 5 bytes, not 60", faults[1])
    assert re.search(r"documents\.jsonl\.gz is missing", faults[2])


@pytest.mark.parametrize("name", ["data_ledger.json", "ledger.html", "sources.yaml"])
def test_what_is_about_the_corpus_is_compared_too(built: Path, name: str) -> None:
    with (built / name).open("a") as file:
        file.write("\n")
    assert verify(built) == [f"{built / name} has other contents than were written."]
    if name != "data_ledger.json":
        (built / name).unlink()
        assert verify(built) == [f"{built / name} is missing."]


def test_missing_checksums_are_a_fault(built: Path) -> None:
    (built / "SHA256SUMS").unlink()
    assert verify(built) == [f"{built / 'SHA256SUMS'} is missing or cannot be read."]
    (built / "SHA256SUMS").write_text("nonsense")
    assert len(verify(built)) == 3


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="compares with sha256sum, which is not installed")
def test_the_checksums_are_of_the_usual_form(built: Path) -> None:
    done = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=built, capture_output=True, text=True, check=True)
    assert done.stdout.count(": OK") == 3
    assert num_files(read_ledger(built)) == 6


def test_a_shard_that_is_not_in_the_ledger(built: Path) -> None:
    (built / "a.en" / "train-00007.idx").touch()
    (built / "other.bin").touch()
    (built / "notes.txt").touch()
    assert verify(built) == [f"{built / name} is not in the ledger." for name in ("a.en/train-00007.idx", "other.bin")]


def test_a_ledger_that_does_not_agree_with_itself(built: Path) -> None:
    ledger = read_ledger(built)
    ledger["shards"].pop()
    write_json(built / "data_ledger.json", ledger)
    write_checksums(built)
    faults = verify(built)
    assert "does not agree with itself" in faults[0]
    assert "train-00000.idx is not in the ledger" in faults[1]


@pytest.mark.parametrize("content", ["[]", "{}", '{"schema": 0}', '{"schema": 1}', "{"])
def test_another_ledger_is_refused(built: Path, content: str) -> None:
    (built / "data_ledger.json").write_text(content)
    with pytest.raises(DataError, match=r"data_ledger\.json"):
        read_ledger(built)


def places(value: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every key and element of a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for key, below in inner for found in [(*place, key), *places(below, (*place, key))]]


def test_a_ledger_with_a_hole_is_refused_or_read(built: Path) -> None:
    """Whatever is taken out of it, there is no other error than a refusal."""
    whole = json.loads((built / "data_ledger.json").read_text())
    refused = 0
    for place in places(whole):
        ledger = json.loads(json.dumps(whole))
        holder = ledger
        for key in place[:-1]:
            holder = holder[key]
        holder[place[-1]] = None
        write_json(built / "data_ledger.json", ledger)
        try:
            verify(built)
        except DataError:
            refused += 1
    assert refused > 50
