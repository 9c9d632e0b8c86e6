"""Tensors in pieces: any cut that covers a tensor once is read back right, any other is refused."""

from __future__ import annotations

import itertools
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from glm130b.errors import ModelError
from glm130b.model import (
    INDEX,
    FolderTensors,
    InMemory,
    Piece,
    Region,
    TensorInfo,
    cuts_of,
    joined,
    write_index,
    write_shard,
)
from glm130b.model.region import covers

NAME = "matrix"


def region_of(data: Any, whole: Region) -> Region:
    """Any rectangle inside another that is not empty."""
    sides = []
    for side in whole.slices:
        first = data.draw(st.integers(side.start, side.stop - 1))
        sides.append((first, data.draw(st.integers(first + 1, side.stop))))
    return Region(*sides)


@st.composite
def tilings(draw: Any, whole: Region, cuts: int) -> list[Region]:
    """Rectangles that make up another, cut again and again at random along either side."""
    regions = [whole]
    for _ in range(cuts):
        region = regions.pop(draw(st.integers(0, len(regions) - 1)))
        axis = draw(st.integers(0, len(region.slices) - 1))
        side = region.slices[axis]
        if side.stop - side.start < 2:
            regions.append(region)
            continue
        place = draw(st.integers(side.start + 1, side.stop - 1))
        for part in ((side.start, place), (place, side.stop)):
            bounds = [(other.start, other.stop) for other in region.slices]
            bounds[axis] = part
            regions.append(Region(*bounds))
    return regions


@st.composite
def cut_tensors(draw: Any) -> tuple[Tensor, list[Region]]:
    shape = tuple(draw(st.lists(st.integers(1, 9), min_size=1, max_size=2)))
    dtype = draw(st.sampled_from([torch.float32, torch.float16, torch.int8]))
    tensor = torch.randn(shape).mul(50).to(dtype)
    return tensor, draw(tilings(Region.whole(shape), draw(st.integers(0, 8))))


def write(folder: Path, tensor: Tensor, regions: list[Region], num_files: int = 1) -> None:
    """A folder with a tensor in pieces that are dealt to files, and a whole tensor beside it."""
    whole = TensorInfo.of(tensor)
    pieces = [Piece(NAME, whole, region) for region in regions]
    beside = torch.arange(4.0)
    records = {}
    for number in range(num_files):
        stored = {piece.key: tensor[piece.region.slices].contiguous() for piece in pieces[number::num_files]}
        stored |= {"beside": beside} if number == 0 else {}
        if stored:
            file = f"model-{number + 1:05d}-of-{num_files:05d}.safetensors"
            records[file] = write_shard(folder / file, list(stored), InMemory(stored))
    (folder / "config.json").write_text("{}")
    write_index(folder, records, whole.nbytes + beside.nbytes, cuts_of(pieces))


@settings(max_examples=60, deadline=None)
@given(data=st.data(), cut=cut_tensors(), num_files=st.integers(1, 3), verify=st.booleans())
def test_whatever_covers_a_tensor_once_is_read_back(
    data: Any, cut: tuple[Tensor, list[Region]], num_files: int, verify: bool
) -> None:
    tensor, regions = cut
    with tempfile.TemporaryDirectory() as name:
        write(Path(name), tensor, regions, num_files)
        source = FolderTensors(Path(name), verify=verify)
        assert source.infos == {NAME: TensorInfo.of(tensor), "beside": TensorInfo((4,), torch.float32)}
        assert torch.equal(source.read(NAME), tensor)
        assert torch.equal(source.read("beside"), torch.arange(4.0))
        for _ in range(4):
            region = region_of(data, Region.whole(tuple(tensor.shape)))
            assert torch.equal(source.read_region(NAME, region), tensor[region.slices])
        assert torch.equal(source.read_region("beside", Region((1, 3))), torch.arange(1.0, 3.0))


@given(data=st.data())
def test_what_does_not_cover_a_tensor_once_is_told_apart(data: Any) -> None:
    whole = Region.whole((data.draw(st.integers(1, 7)), data.draw(st.integers(1, 7))))
    regions = data.draw(tilings(whole, 6))
    assert covers(whole.shape, regions)
    number = data.draw(st.integers(0, len(regions) - 1))
    without = regions[:number] + regions[number + 1 :]
    assert not covers(whole.shape, without)
    assert not covers(whole.shape, [*regions, regions[number]])
    other = region_of(data, Region((0, 9), (0, 9)))
    assert covers(whole.shape, [*without, other]) == (other == regions[number])
    down, right = data.draw(st.sampled_from([(-1, 0), (1, 0), (0, -1), (0, 1)]))
    rows, columns = regions[number].slices
    moved = Region((rows.start + down, rows.stop + down), (columns.start + right, columns.stop + right))
    assert not covers(whole.shape, [*without, moved])


@given(data=st.data())
def test_joined_rows_are_the_same_rows(data: Any) -> None:
    """Also of rows cut to single ones, with empty stretches between, and of the halves of GeGLU."""
    tensor = torch.arange(60).view(12, 5)
    columns = data.draw(st.sampled_from([(0, 5), (1, 3)]))
    starts = data.draw(st.lists(st.integers(0, 12), min_size=1, max_size=6))
    regions = [Region((start, data.draw(st.integers(start, 12))), columns) for start in starts]
    merged = joined(regions)
    rows = [torch.cat([tensor[region.slices] for region in some] or [tensor[:0, :1]]) for some in (regions, merged)]
    assert rows[0].flatten().tolist() == rows[1].flatten().tolist()
    assert all(region.num_values for region in merged)
    assert all(a.rows[1] != b.rows[0] for a, b in itertools.pairwise(merged))


def test_a_tensor_that_is_not_cut_keeps_its_name() -> None:
    whole = TensorInfo((8, 4), torch.float32)
    assert Piece(NAME, whole, Region((0, 8), (0, 4))).key == NAME
    assert Piece(NAME, whole, Region((2, 8), (0, 4))).key == "matrix@2,0"
    assert Piece("vector", TensorInfo((8,), torch.float32), Region((2, 8))).key == "vector@2"
    assert cuts_of([Piece(NAME, whole, Region((0, 8), (0, 4)))]) == {}


HALVES = [Region((0, 4), (0, 6)), Region((4, 8), (0, 6))]


def test_regions_that_ranks_should_not_have_are_refused() -> None:
    pieces = [Piece(NAME, TensorInfo((8, 6), torch.float32), region) for region in HALVES]
    for wrong in (pieces[:1], [*pieces, pieces[0]]):
        with pytest.raises(ModelError, match="The pieces of matrix that the ranks hold do not make it up"):
            cuts_of(wrong)


@pytest.fixture
def halves(tmp_path: Path) -> Path:
    write(tmp_path, torch.arange(48.0).view(8, 6), HALVES, 2)
    return tmp_path


def lose_a_piece(index: dict[str, Any]) -> None:
    del index["pieces"][NAME]["keys"]["matrix@4,0"]


def move_a_piece(index: dict[str, Any]) -> None:
    index["pieces"][NAME]["keys"]["matrix@4,0"] = [[3, 7], [0, 6]]


def grow(index: dict[str, Any]) -> None:
    index["pieces"][NAME]["shape"] = [9, 6]


def third_dimension(index: dict[str, Any]) -> None:
    index["pieces"][NAME]["shape"] = [8, 6, 1]


def lose_a_key(index: dict[str, Any]) -> None:
    for part in ("weight_map", "tensor_sha256"):
        del index[part]["matrix@4,0"]


def reshape(index: dict[str, Any]) -> None:
    index["pieces"][NAME]["shape"] = [6, 8]
    index["pieces"][NAME]["keys"] = {"matrix@0,0": [[0, 3], [0, 8]], "matrix@4,0": [[3, 6], [0, 8]]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lose_a_piece, "is not an index of weights: the pieces of matrix do not make it up exactly once"),
        (move_a_piece, "the pieces of matrix do not make it up exactly once"),
        (grow, "the pieces of matrix do not make it up exactly once"),
        (third_dimension, "the pieces of matrix do not make it up exactly once"),
        (lose_a_key, "do not speak of the same files and tensors"),
        (reshape, r"model-00001-of-00002.safetensors: matrix@0,0 is \[4, 6\], the index says \[3, 8\]"),
    ],
)
def test_an_index_that_does_not_fit_its_pieces_is_refused(
    halves: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    content = json.loads((halves / INDEX).read_text())
    change(content)
    (halves / INDEX).write_text(json.dumps(content))
    for read in (
        lambda: FolderTensors(halves).infos,
        lambda: FolderTensors(halves).read(NAME),
        lambda: FolderTensors(halves).read_region(NAME, Region((0, 1), (0, 1))),
    ):
        with pytest.raises(ModelError, match=message):
            read()


def test_a_damaged_piece_is_named(halves: Path) -> None:
    file = halves / "model-00002-of-00002.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    source = FolderTensors(halves)
    assert torch.equal(source.read_region(NAME, Region((0, 4), (2, 6))), torch.arange(48.0).view(8, 6)[:4, 2:])
    for read in (
        lambda: source.read(NAME),
        lambda: source.read_region(NAME, Region((3, 5), (0, 1))),
        lambda: FolderTensors(halves, verify=False).verify_share(1, 2),
    ):
        with pytest.raises(ModelError, match=r"00002-of-00002.safetensors is damaged: the bytes of matrix@4,0 are not"):
            read()
    FolderTensors(halves, verify=False).verify_share(0, 2)
    file.unlink()
    with pytest.raises(ModelError, match=r"00002-of-00002.safetensors is missing"):
        source.read(NAME)
    assert source.read_region(NAME, Region((0, 1), (0, 6))).tolist() == [[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]]


@pytest.mark.parametrize("num_shares", [1, 2, 3, 5])
def test_all_shares_together_compare_everything(halves: Path, num_shares: int) -> None:
    checked: list[str] = []
    for share in range(num_shares):
        source = FolderTensors(halves, verify=False)
        source.verify_share(share, num_shares)
        checked += source._verified
    assert sorted(checked) == ["beside", "matrix@0,0", "matrix@4,0"]
