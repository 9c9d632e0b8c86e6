"""Idle time and activations in flight, by formula against PyTorch's schedules played through step by step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributed.pipelining import PipelineStage
from torch.distributed.pipelining.schedules import ScheduleInterleaved1F1B, ScheduleZBVZeroBubble

from glm130b.config import ParallelConfig
from glm130b.parallel import fake_mesh
from glm130b.planning import bubble_share, in_flight, num_stages, padded_micro_batches, stages_on
from glm130b.planning.pipeline import waiting

Pass = tuple[str, int, int]
"""Kind (F, B, or B's halves I and W), stage, micro-batch."""

LENGTHS = {"F": 1, "B": 2, "I": 1, "W": 1}


def orders(parallel: ParallelConfig, count: int) -> dict[int, list[Pass]]:
    """What each rank of the pipeline does, in PyTorch's order."""
    if parallel.schedule == "1f1b":
        return {rank: one_forward_one_backward(rank, parallel.pipeline, count) for rank in range(parallel.pipeline)}
    everything = num_stages(parallel)
    hidden = torch.empty(1, device="meta", requires_grad=True)
    with fake_mesh(parallel, 0) as mesh:
        stages: Any = [
            PipelineStage(
                torch.nn.Identity(),
                stage,
                everything,
                mesh.device,
                input_args=hidden,
                output_args=hidden,
                group=mesh.pipeline_group,
            )
            for stage in stages_on(0, parallel)
        ]
        kind: Callable[..., Any] = (
            ScheduleInterleaved1F1B if parallel.schedule == "interleaved" else ScheduleZBVZeroBubble
        )
        found = kind(stages, count, loss_fn=lambda x, _: x.sum(), scale_grads=False).pipeline_order
    return {
        rank: [(it.computation_type.value, it.stage_index, it.microbatch_index) for it in actions if it is not None]
        for rank, actions in found.items()
    }


def one_forward_one_backward(rank: int, size: int, count: int) -> list[Pass]:
    first = min(count, size - rank)
    passes: list[Pass] = [("F", rank, n) for n in range(first)]
    for n in range(count):
        passes.append(("B", rank, n))
        passes += [("F", rank, first + n)] if first + n < count else []
    return passes


def played(order: dict[int, list[Pass]]) -> int:
    """Time until the last rank is done."""
    everything = max(stage for passes in order.values() for _, stage, _ in passes) + 1
    ended: dict[Pass, int] = {}
    clocks, places = dict.fromkeys(order, 0), dict.fromkeys(order, 0)
    while any(places[rank] < len(passes) for rank, passes in order.items()):
        before = sum(places.values())
        for rank, passes in order.items():
            while places[rank] < len(passes):
                kind, stage, number = passes[places[rank]]
                needed: list[Pass] = {
                    "F": [("F", stage - 1, number)] if stage else [],
                    "B": [("B", stage + 1, number)] if stage < everything - 1 else [],
                    "I": [("I", stage + 1, number)] if stage < everything - 1 else [],
                    "W": [],
                }[kind]
                if not all(one in ended for one in needed):
                    break
                clocks[rank] = max([clocks[rank], *(ended[one] for one in needed)]) + LENGTHS[kind]
                ended[passes[places[rank]]] = clocks[rank]
                places[rank] += 1
        assert sum(places.values()) > before, "the schedule does not come to an end"
    return max(clocks.values())


def most_held(passes: list[Pass], stages: list[int], begin: str, ends: str) -> list[int]:
    """Micro-batches of each stage that have been through ``begin`` and not through ``ends``, when they are most."""
    held: Counter[int] = Counter()
    most = [0] * len(stages)
    for kind, stage, _ in passes:
        held[stage] += (kind == begin) - (kind in ends)
        if held.total() > sum(most):
            most = [held[stage] for stage in stages]
    return most


LAYOUTS = st.fixed_dictionaries(
    {
        "pipeline": st.integers(2, 5),
        "schedule": st.sampled_from(["1f1b", "interleaved", "zero_bubble"]),
        "virtual_stages": st.integers(2, 3),
    }
).map(ParallelConfig.model_validate)


@settings(max_examples=40)
@given(LAYOUTS, st.integers(1, 24))
def test_the_bubble_is_what_the_schedule_leaves_idle(parallel: ParallelConfig, count: int) -> None:
    count = padded_micro_batches(count, parallel)
    order = orders(parallel, count)
    work = sum(LENGTHS[kind] for kind, _, _ in order[0])
    assert bubble_share(parallel, count) == pytest.approx(1 - work / played(order))


@settings(max_examples=40)
@given(LAYOUTS, st.integers(1, 24))
def test_activations_in_flight_are_those_of_the_schedule(parallel: ParallelConfig, count: int) -> None:
    count = padded_micro_batches(count, parallel)
    for rank, passes in orders(parallel, count).items():
        stages = stages_on(rank, parallel)
        assert in_flight(parallel, rank, count) == most_held(passes, stages, "F", "BW")
        if parallel.schedule == "zero_bubble":
            assert sum(waiting(parallel, rank, count)) == sum(most_held(passes, stages, "I", "W"))
        else:
            assert waiting(parallel, rank, count) == [0] * len(stages)


def test_the_papers_bubble() -> None:
    parallel = ParallelConfig(pipeline=8)
    assert f"{bubble_share(parallel, 176):.2%} {bubble_share(parallel, 8):.1%}" == "3.83% 46.7%"


def test_no_pipeline_no_bubble() -> None:
    assert bubble_share(ParallelConfig(), 5) == 0
    assert in_flight(ParallelConfig(), 0, 5) == [1]
