"""The table of documents comes back as it went in, at any row and over any number of blocks."""

from __future__ import annotations

import tempfile
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glm130b.corpus import records
from glm130b.corpus.records import RECORD, DocumentTable, Outcome, TableWriter
from glm130b.errors import DataError

OUTCOMES = st.sampled_from([None, Outcome("read", "not UTF-8"), Outcome("near", "near duplicate")])
FIELDS = st.fixed_dictionaries(
    {
        "source_bytes": st.integers(0, 2**40),
        "num_bytes": st.integers(0, 2**32 - 1),
        "row": st.integers(-1, 2**31 - 1),
        "is_heldout": st.booleans(),
    }
)
DOCUMENTS = st.lists(
    st.tuples(st.text(max_size=5), st.sampled_from(["en", "zh", "fr"]), st.text(max_size=3), OUTCOMES, FIELDS),
    max_size=12,
)


@settings(max_examples=50)
@given(DOCUMENTS, st.integers(1, 5))
def test_what_went_in_comes_out(
    documents: list[tuple[str, str, str, Outcome | None, dict[str, int]]], block: int
) -> None:
    with tempfile.TemporaryDirectory() as name, mock.patch.object(records, "_BLOCK", block):
        folder = Path(name)
        with TableWriter(folder) as writer:
            for document_id, language, license_name, outcome, fields in documents:
                writer.add(document_id, language, license_name, outcome, **fields)
        assert writer.num_documents == len(documents)
        table = DocumentTable(folder)
        assert len(table) == len(documents)
        ids = [document_id.encode("utf-8", "replace").decode() for document_id, *_ in documents]
        assert list(table.document_ids()) == ids
        for index, (_, language, license_name, outcome, fields) in reversed(list(enumerate(documents))):
            assert table.document_id(index) == ids[index]
            record = table.records[index]
            assert table.languages[record["language"]] == language
            assert table.licenses[record["license"]] == license_name
            assert table.outcomes[record["outcome"]] == outcome
            assert {name: record[name].item() for name in fields} == fields
            assert {record[name].item() for name in ("num_tokens", "kept_bytes", "kept_tokens")} == {0}


def test_a_record_is_as_long_as_it_says() -> None:
    assert RECORD.itemsize == 51


def test_a_damaged_table_is_named(tmp_path: Path) -> None:
    with TableWriter(tmp_path) as writer:
        writer.add("a", "en", "", None)
    (tmp_path / "documents.bin").write_bytes(b"123")
    with pytest.raises(DataError, match=r"documents\.bin cannot be read"):
        DocumentTable(tmp_path)
    (tmp_path / "documents.bin").unlink()
    with pytest.raises(DataError, match=r"documents\.bin cannot be read"):
        DocumentTable(tmp_path)
