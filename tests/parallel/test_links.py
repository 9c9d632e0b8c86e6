"""Whether ranks can talk to one another."""

from __future__ import annotations

import re
import time
from datetime import timedelta
from typing import Any

import pytest
import torch
import torch.distributed as dist
from ranks import run_ranks

from glm130b.config import ParallelConfig
from glm130b.errors import ResourceError
from glm130b.parallel import Link, Mesh, check_links
from glm130b.parallel import links as module


def links(parallel: ParallelConfig) -> list[Link]:
    return check_links(Mesh.build(parallel, torch.device("cpu")))


def test_every_axis_is_tried_and_all_ranks_are_told_the_same() -> None:
    found = run_ranks(4, links, ParallelConfig(pipeline=2, data=2, zero_stage=0))
    assert [(link.axis, link.size) for link in found[0]] == [("pipeline", 2), ("data", 2)]
    assert all(others == found[0] for others in found)
    pipeline, data = found[0]
    assert pipeline.slowest in [(0, 2), (1, 3)]
    assert data.slowest in [(0, 1), (2, 3)]
    assert all(0 < link.slowest_bandwidth <= link.bandwidth and link.seconds > 0 for link in found[0])


def test_a_process_alone_has_no_links() -> None:
    assert check_links(Mesh.build(ParallelConfig(), torch.device("cpu"))) == []


def refusal(parallel: ParallelConfig, fault: Any) -> str:
    mesh = Mesh.build(parallel, torch.device("cpu"))
    try:
        fault(mesh)
        check_links(mesh, patience=timedelta(seconds=1))
    except ResourceError as error:
        return error.problem
    return ""


def silent(mesh: Mesh) -> None:
    """Rank 1 says who it is, and then nothing."""
    if mesh.world.rank == 1:
        mesh.world.gather("host-b")
        time.sleep(1.5)
        raise ResourceError("asleep")


def wrong(mesh: Mesh) -> None:
    """Rank 1 adds something else."""
    if mesh.world.rank == 1:
        whole: Any = dist.all_reduce
        module.dist.all_reduce = lambda tensor, **given: whole(tensor.mul_(3), **given)  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        pytest.param(
            silent,
            r"The tensor link of ranks 0, 1 on \S+, host-b failed, or gave no answer for 1 s: Operation timed out\.",
            marks=pytest.mark.slow,
        ),
        (wrong, r"The tensor link of ranks 0, 1 on \S+ added 2 ones up to 4\."),
    ],
    ids=["silent", "wrong"],
)
def test_a_dead_or_wrong_link_is_named(fault: Any, message: str) -> None:
    (found, *_) = run_ranks(2, refusal, ParallelConfig(tensor=2), fault)
    assert re.fullmatch(message, found)


def test_a_group_that_lags_behind_is_pointed_out() -> None:
    link = Link("data", 2, 1e-4, 10e9, (3, 7), ("a", "b"), 2e9)
    assert str(link) == (
        "data (2 ranks): 100 us, 10.00 GB/s; slowest 2.00 GB/s, ranks 3, 7 on a, b: less than half of the median"
    )
    assert not Link("data", 2, 1e-4, 10e9, (3, 7), ("a", "b"), 9e9).is_slow
