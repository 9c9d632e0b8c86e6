"""Token shards against plain lists, and their bytes against the Megatron layout."""

from __future__ import annotations

import struct
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glm130b.corpus import TokenShard, write_shard
from glm130b.errors import DataError

DOCUMENTS = [[1, 2, 3], [], [65535], [7, 8]]


@settings(max_examples=50, deadline=None)
@given(st.data(), st.sampled_from([300, 65536, 65537, 150_528]))
def test_round_trip(data: st.DataObject, vocab_size: int) -> None:
    documents = data.draw(st.lists(st.lists(st.integers(0, vocab_size - 1), max_size=9), max_size=9))
    with tempfile.TemporaryDirectory() as folder:
        counts = write_shard(Path(folder) / "x.train", iter(documents), vocab_size)
        shard = TokenShard(Path(folder) / "x.train")
        flat = [token for ids in documents for token in ids]
        assert counts == (len(documents), len(flat))
        assert shard.tokens.tolist() == flat
        assert shard.lengths.tolist() == [len(ids) for ids in documents]
        assert shard.num_tokens == len(flat)
        assert shard.tokens.dtype == (np.uint16 if vocab_size <= 65536 else np.int32)


@pytest.mark.parametrize(("vocab_size", "code", "size"), [(65536, 8, 2), (65537, 4, 4)])
def test_bytes(tmp_path: Path, vocab_size: int, code: int, size: int) -> None:
    """As Megatron-LM's indexed_dataset.py reads them."""
    write_shard(tmp_path / "a", DOCUMENTS, vocab_size)
    index = (tmp_path / "a.idx").read_bytes()
    assert index[:9] == b"MMIDIDX\x00\x00"
    assert struct.unpack_from("<Q", index, 9) == (1,)
    assert struct.unpack_from("<B", index, 17) == (code,)
    assert struct.unpack_from("<Q", index, 18) == (4,)
    assert struct.unpack_from("<Q", index, 26) == (5,)
    assert struct.unpack_from("<4i", index, 34) == (3, 0, 1, 2)
    assert struct.unpack_from("<4q", index, 50) == (0, 3 * size, 3 * size, 4 * size)
    assert struct.unpack_from("<5q", index, 82) == (0, 1, 2, 3, 4)
    assert len(index) == 122
    kind = {2: "H", 4: "i"}[size]
    assert (tmp_path / "a.bin").read_bytes() == struct.pack(f"<6{kind}", 1, 2, 3, 65535, 7, 8)


def test_other_integer_types_are_read(tmp_path: Path) -> None:
    write_shard(tmp_path / "a", [[1, 2], [3]], 10)
    index = bytearray((tmp_path / "a.idx").read_bytes())
    for code, kind in ((1, "B"), (2, "b"), (3, "h"), (4, "i"), (5, "q")):
        index[17] = code
        struct.pack_into("<2q", index, 42, 0, 2 * struct.calcsize(kind))
        (tmp_path / "a.idx").write_bytes(index)
        (tmp_path / "a.bin").write_bytes(struct.pack(f"<3{kind}", 1, 2, 3))
        assert TokenShard(tmp_path / "a").tokens.tolist() == [1, 2, 3]


def test_tokens_are_mapped_and_read_only(tmp_path: Path) -> None:
    write_shard(tmp_path / "a", DOCUMENTS, 65536)
    tokens = TokenShard(tmp_path / "a").tokens
    assert isinstance(tokens, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        tokens[0] = 5


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    write_shard(tmp_path / "a", DOCUMENTS, 65536)
    return tmp_path / "a"


def refused(prefix: Path) -> str:
    with pytest.raises(DataError) as caught:
        TokenShard(prefix)
    return caught.value.problem


def test_an_index_cut_anywhere(shard: Path) -> None:
    index = shard.with_suffix(".idx")
    whole = index.read_bytes()
    for length in range(len(whole)):
        index.write_bytes(whole[:length])
        assert f"{index} is truncated, or no Megatron index" in refused(shard)
    index.write_bytes(whole + b"\0")
    assert str(index) in refused(shard)


def test_data_of_another_length(shard: Path) -> None:
    data = shard.with_suffix(".bin")
    whole = data.read_bytes()
    for content in (*(whole[:length] for length in range(len(whole))), whole + b"\0\0"):
        data.write_bytes(content)
        assert refused(shard) == f"{data} is not as long as its index says."


@pytest.mark.parametrize(
    ("place", "value"), [(0, b"X"), (9, b"\x02"), (17, b"\x63"), (18, b"\xff" * 8), (26, b"\xff" * 8)]
)
def test_a_header_of_another_kind(shard: Path, place: int, value: bytes) -> None:
    index = shard.with_suffix(".idx")
    content = bytearray(index.read_bytes())
    content[place : place + len(value)] = value
    index.write_bytes(content)
    assert "no Megatron index" in refused(shard)


@pytest.mark.parametrize("suffix", [".idx", ".bin"])
def test_a_missing_file(shard: Path, suffix: str) -> None:
    shard.with_suffix(suffix).unlink()
    assert f"a{suffix} cannot be read" in refused(shard)


def test_another_programs_shards(tmp_path: Path) -> None:
    """datatrove's writer of the Megatron layout: its files are read, and ours are the same to the byte."""
    from datatrove.pipeline.tokens import megatron_tokenizer as megatron

    for size, vocab_size in ((2, 65536), (4, 65537)):
        theirs = megatron.MegatronTokenizedFile(str(tmp_path), f"theirs{size}", token_size=size)
        for document in DOCUMENTS:
            theirs.write(list(document))
        theirs.close()
        write_shard(tmp_path / f"ours{size}", DOCUMENTS, vocab_size)
        for suffix in (".idx", ".bin"):
            ours = (tmp_path / f"ours{size}{suffix}").read_bytes()
            assert (tmp_path / f"theirs{size}{suffix}").read_bytes() == ours
        shard = TokenShard(tmp_path / f"theirs{size}")
        assert [shard.document(n).tolist() for n in range(len(DOCUMENTS))] == [list(d) for d in DOCUMENTS]
