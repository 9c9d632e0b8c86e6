"""Re-planning: every process used, as near to the plan as can be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import small_config

from glm130b.config import ParallelConfig, load_config
from glm130b.errors import ConfigError
from glm130b.launch import Fitted, fit_to_world, plan_layout


@given(
    tensor=st.integers(1, 12),
    pipeline=st.integers(1, 12),
    world_size=st.integers(1, 400),
    sequence=st.booleans(),
)
def test_every_process_is_used_by_a_layout_within_the_plan(
    tensor: int, pipeline: int, world_size: int, sequence: bool
) -> None:
    planned = ParallelConfig(tensor=tensor, pipeline=pipeline, sequence=sequence)
    found = plan_layout(planned, world_size)
    assert found.tensor * found.pipeline * found.data == world_size
    assert tensor % found.tensor == 0
    assert found.pipeline <= pipeline
    assert found.sequence == sequence
    if world_size % (tensor * pipeline) == 0:
        assert (found.tensor, found.pipeline) == (tensor, pipeline)
    for longer in range(found.pipeline + 1, pipeline + 1):
        assert world_size % (found.tensor * longer), "the pipeline was shortened more than needed"


@pytest.mark.parametrize(
    ("world_size", "layout"),
    [(768, (4, 8, 24)), (736, (4, 8, 23)), (760, (4, 5, 38)), (6, (2, 3, 1)), (7, (1, 7, 1)), (1, (1, 1, 1))],
)
def test_the_paper_s_layout_with_fewer_processes(world_size: int, layout: tuple[int, int, int]) -> None:
    found = plan_layout(load_config("130b").run.parallel, world_size, batch_size=4224)
    assert (found.tensor, found.pipeline, found.data) == layout


def test_what_will_not_do_is_refused_with_what_would() -> None:
    planned = ParallelConfig(tensor=2, pipeline=2)
    with pytest.raises(ConfigError, match="No layout of 18 processes") as caught:
        plan_layout(planned, 18, batch_size=4)
    assert caught.value.next_step == "Use 16 processes."
    with pytest.raises(ConfigError, match="No layout of 6 processes") as caught:
        plan_layout(planned, 6, fits=lambda layout: layout.pipeline == layout.tensor == 2)
    assert caught.value.next_step == "Use 4 or 8 processes."
    with pytest.raises(ConfigError) as caught:
        plan_layout(planned, 6, fits=lambda _: False)
    assert "smaller model" in caught.value.next_step


def test_the_configuration_says_that_it_was_re_planned() -> None:
    merged = small_config("parallel.tensor=2", "parallel.pipeline=2")
    assert fit_to_world(merged, 4, fits=lambda _: False) == Fitted(merged, 4), "what was planned is not questioned here"
    fitted = fit_to_world(merged, 2)
    assert (fitted.num_ranks, fitted.note) == (
        2,
        "Layout for 2 processes: pipeline 1 x data 1 x tensor 2; the config says pipeline 2 x data 1 x tensor 2.",
    )
    assert "re-planned for 2 processes" in fitted.merged.describe()
    assert fitted.merged.run.train == merged.run.train


def test_who_has_no_place_stands_by() -> None:
    merged = small_config("parallel.tensor=2", "parallel.pipeline=2", "train.batch={end: 4}")
    assert fit_to_world(merged, 18).num_ranks == 16

    def large(layout: ParallelConfig) -> bool:
        """Whether enough ranks hold a part of the model."""
        return layout.tensor * layout.pipeline >= 4

    fitted = fit_to_world(merged, 7, fits=large)
    assert (fitted.merged, fitted.num_ranks) == (merged, 4)
    assert fitted.note == "Layout for 7 processes: pipeline 2 x data 1 x tensor 2; 3 of them stand by."
    with pytest.raises(ConfigError) as caught:
        fit_to_world(merged, 3, fits=large)
    assert caught.value.next_step == "Use 4 processes."


def test_a_machine_lost_from_the_paper_s_cluster() -> None:
    """Where only the paper's own division of the model fits the memory, the rest of three machines waits."""
    merged = load_config("130b")
    fitted = fit_to_world(merged, 95 * 8, fits=lambda layout: layout.tensor * layout.pipeline >= 32)
    assert fitted.num_ranks == 92 * 8
    assert (fitted.merged.run.parallel.tensor, fitted.merged.run.parallel.pipeline) == (4, 8)
