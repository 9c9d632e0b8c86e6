"""Who holds what: pure arithmetic of stages, cuts and shards."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from glm130b.config import ModelConfig, ParallelConfig, load_config
from glm130b.errors import ConfigError
from glm130b.interop.sharding import stretches
from glm130b.model import Region
from glm130b.parallel import check_divides, num_stages, padded_micro_batches, split_layers, stages_on
from glm130b.parallel.place import shard_rows
from glm130b.parallel.tensor import cut, is_replicated
from glm130b.planning import parameter_shapes


def test_the_papers_balance() -> None:
    assert [len(layers) for layers in split_layers(70, 8)] == [8, 9, 9, 9, 9, 9, 9, 8]


@given(st.integers(1, 120), st.integers(1, 40))
def test_layers_are_divided_evenly_with_the_embeddings_counted(num_layers: int, stages: int) -> None:
    if stages > num_layers:
        with pytest.raises(ConfigError, match="pipeline stages"):
            split_layers(num_layers, stages)
        return
    parts = split_layers(num_layers, stages)
    assert [layer for part in parts for layer in part] == list(range(num_layers))
    work = [len(part) + (n == 0) + (n == stages - 1) for n, part in enumerate(parts)]
    # Every stage has a layer, so an end may exceed the others by what its embedding costs.
    assert max(work) <= max(-(-(num_layers + 2) // stages), 1 + (2 if stages == 1 else 1))


@pytest.mark.parametrize("schedule", ["1f1b", "interleaved", "zero_bubble"])
@given(pipeline=st.integers(1, 8), virtual=st.integers(1, 4))
def test_every_stage_lies_on_one_rank(schedule: str, pipeline: int, virtual: int) -> None:
    parallel = ParallelConfig.model_validate({"pipeline": pipeline, "schedule": schedule, "virtual_stages": virtual})
    held = [stages_on(rank, parallel) for rank in range(pipeline)]
    assert sorted(stage for stages in held for stage in stages) == list(range(num_stages(parallel)))
    assert len({len(stages) for stages in held}) == 1
    assert 0 in held[0]


@given(st.integers(1, 50), st.integers(2, 8), st.sampled_from(["1f1b", "interleaved", "zero_bubble"]))
def test_padded_micro_batches(count: int, pipeline: int, schedule: str) -> None:
    parallel = ParallelConfig.model_validate({"pipeline": pipeline, "schedule": schedule})
    padded = padded_micro_batches(count, parallel)
    assert max(count, pipeline) <= padded < count + 2 * pipeline
    assert padded == count or schedule == "interleaved" or count < 2 * pipeline
    if schedule == "interleaved":
        assert padded % max(1, padded // pipeline) == 0


SHAPE = ModelConfig(num_layers=1, hidden_size=24, num_heads=6, ffn_size=12, vocab_size=36, max_sequence_length=8)


@pytest.mark.parametrize("degree", [1, 2, 3, 6])
@pytest.mark.parametrize("name", parameter_shapes(SHAPE))
def test_cuts_are_those_of_official_checkpoints(name: str, degree: int) -> None:
    shape = parameter_shapes(SHAPE)[name]
    whole = torch.arange(torch.Size(shape).numel()).view(shape)
    seen = torch.zeros(shape, dtype=torch.int64)
    for rank in range(degree):
        regions = cut(name, shape, rank, degree)
        for region, theirs in zip(regions, stretches(name, whole, rank, degree), strict=True):
            assert torch.equal(whole[region.slices], theirs)
            seen[region.slices] += 1
    assert (seen == (degree if is_replicated(name) else 1)).all()


@given(st.lists(st.integers(1, 9), min_size=1, max_size=3), st.integers(1, 12))
def test_shards_are_chunks_of_the_rows(sizes: list[int], shards: int) -> None:
    """As torch.chunk deals them, with nothing for the last ranks where there are too few."""
    starts = [100 * n for n in range(len(sizes))]
    regions = [Region((start, start + size), (3, 5)) for start, size in zip(starts, sizes, strict=True)]
    rows = torch.cat([torch.arange(*region.rows) for region in regions])
    chunks = rows.chunk(shards)
    for rank in range(shards):
        found = shard_rows(regions, rank, shards)
        expected = chunks[rank].tolist() if rank < len(chunks) else []
        assert [row for region in found for row in range(*region.rows)] == expected
        assert all(region.columns == (3, 5) for region in found)


@given(st.tuples(*[st.integers(0, 6)] * 8))
def test_overlaps(edges: tuple[int, ...]) -> None:
    a, b = (Region((min(r), max(r)), (min(c), max(c))) for r, c in ((edges[:2], edges[2:4]), (edges[4:6], edges[6:])))
    grid = torch.zeros(6, 6, dtype=torch.int64)
    grid[a.slices] += 1
    grid[b.slices] += 1
    shared = a.overlap(b)
    if shared is None:
        assert not (grid == 2).any()
        return
    assert (grid[shared.slices] == 2).all()
    assert (grid == 2).sum() == grid[shared.slices].numel()
    numbers = torch.arange(36).view(6, 6)
    assert torch.equal(numbers[a.slices][shared.within(a)], numbers[shared.slices])


def test_what_does_not_divide_is_named() -> None:
    model = load_config("130b").run.model
    check_divides(model, 4, seq_length=2048)
    with pytest.raises(ConfigError, match=r"parallel\.tensor 5 does not divide model\.num_heads 96"):
        check_divides(model, 5)
    with pytest.raises(ConfigError, match=r"data\.seq_length 2047"):
        check_divides(model, 4, seq_length=2047)
