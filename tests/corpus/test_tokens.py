"""A source in several shards, as pieces."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glm130b.corpus import Tokens, TokenShard, check_ids, write_shard
from glm130b.errors import DataError


@given(st.lists(st.lists(st.lists(st.integers(0, 60_000), max_size=9), max_size=5), max_size=4), st.integers(1, 12))
def test_pieces_lie_within_a_shard(shards: list[list[list[int]]], length: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for number, documents in enumerate(shards):
            write_shard(Path(folder) / str(number), documents, 65_536)
        tokens = Tokens([TokenShard(Path(folder) / str(number)) for number in range(len(shards))])
        wanted = []
        for documents in shards:
            flat = [token for document in documents for token in document]
            wanted += [flat[start : start + length] for start in range(0, len(flat) - length + 1, length)]
        pieces = tokens.pieces(length)
        assert [pieces[number].tolist() for number in range(len(pieces))] == wanted
        assert tokens.num_documents == sum(map(len, shards))
        assert tokens.num_tokens == sum(len(document) for documents in shards for document in documents)
        with pytest.raises(IndexError):
            pieces[len(pieces)]


@given(st.lists(st.lists(st.integers(0, 60_000), max_size=9), min_size=1, max_size=8))
def test_documents_by_number(documents: list[list[int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_shard(Path(folder) / "x", documents, 65_536)
        shard = TokenShard(Path(folder) / "x")
        assert [shard.document(number).tolist() for number in range(len(documents))] == documents


def test_ids_are_checked(tmp_path: Path) -> None:
    write_shard(tmp_path / "x", [[1, 2, 99]], 100)
    piece = Tokens([TokenShard(tmp_path / "x")]).pieces(3)[0]
    check_ids(piece, 100, "here")
    with pytest.raises(DataError, match="here holds the id 99, the tokenizer has 99"):
        check_ids(piece, 99, "here")
