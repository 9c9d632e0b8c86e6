"""The parallel code on a pretended mesh: every layout's shares are the model, up to the paper's 768 ranks."""

from __future__ import annotations

import pytest
import torch.distributed as dist
from ranks import apart
from support import small_config

from glm130b.config import load_config
from glm130b.errors import ConfigError
from glm130b.parallel import check_placement, fake_mesh
from glm130b.parallel.fake import share_of
from glm130b.planning import num_shards, parameter_count, rank_parameters

LAYOUTS = [
    "{}",
    "{data: 3, zero_stage: 0}",
    "{tensor: 2, pipeline: 2, data: 2, sequence: true}",
    "{pipeline: 3, data: 2, zero_stage: 3, schedule: interleaved}",
    "{tensor: 2, pipeline: 2, data: 3, schedule: zero_bubble}",
]


@pytest.mark.parametrize("parallel", LAYOUTS)
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@apart
def test_all_ranks_together_hold_every_parameter_once(parallel: str, precision: str) -> None:
    config = small_config("model.num_layers=6", f"train.precision={precision}", f"parallel={parallel}").run
    size = config.parallel.pipeline * config.parallel.data * config.parallel.tensor
    shares = [share_of(config, rank) for rank in range(size)]
    assert sum(share.num_counted for share in shares) == parameter_count(config.model)
    # What the plan says of a rank is what it holds; of shards it says what the largest is.
    shards = num_shards(config)
    for share in shares:
        assert share.num_local <= rank_parameters(config, share.pp, shards=shards)
    for pp in range(config.parallel.pipeline):
        largest = max(share.num_local for share in shares if share.pp == pp)
        assert largest == rank_parameters(config, pp, shards=shards)


@pytest.mark.slow
@apart
def test_the_papers_layout() -> None:
    config = load_config("130b").run
    shares = check_placement(config)
    assert [share.rank for share in shares] == list(range(0, 768, 96))
    assert sum(share.num_parameters for share in shares) == 128_697_794_560
    assert [share.num_local for share in shares] == [rank_parameters(config, pp, shards=24) for pp in range(8)]
    assert not dist.is_initialized()


@apart
def test_a_layout_that_does_not_divide_is_refused_and_leaves_no_group() -> None:
    config = small_config("parallel.tensor=3").run
    with pytest.raises(ConfigError, match=r"parallel\.tensor 3 does not divide model\.num_heads 2"):
        check_placement(config)
    assert not dist.is_initialized()


@apart
def test_every_rank_finds_its_place() -> None:
    parallel = small_config("parallel={tensor: 2, pipeline: 3, data: 2}").run.parallel
    for rank in range(12):
        with fake_mesh(parallel, rank) as mesh:
            assert (mesh.pp * 2 + mesh.dp) * 2 + mesh.tp == rank == mesh.world.rank


@apart
def test_a_job_does_not_pretend() -> None:
    parallel = small_config().run.parallel
    with fake_mesh(parallel, 0), pytest.raises(RuntimeError, match="cannot pretend"), fake_mesh(parallel, 0):
        pass
