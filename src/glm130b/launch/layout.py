"""Which layout a job runs in when it has other than the planned number of processes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from glm130b.config import MergedConfig, ParallelConfig
from glm130b.errors import ConfigError

_LOOK = 4
"""World sizes up to so many times the one at hand are looked through for one that would do."""


def plan_layout(
    parallel: ParallelConfig,
    world_size: int,
    *,
    batch_size: int | None = None,
    fits: Callable[[ParallelConfig], bool] = lambda _: True,
) -> ParallelConfig:
    """The layout nearest to the planned one that uses every process.

    Tensor and pipeline stay as they are if their product divides the world; data parallelism is what is left.
    Else the pipeline is shortened, then the tensor-parallel degree lowered to one of its divisors, which divides
    all that the planned degree does. Neither the global batch nor the order of the data depends on the layout.

    Args:
        parallel: the layout that the configuration asks for.
        world_size: how many processes there are.
        batch_size: sequences in the largest step; a data-parallel rank that never has one is none.
        fits: whether a layout can be afforded, in memory for example.

    Raises:
        ConfigError: no layout uses this many processes; says which numbers would do.
    """
    found = _nearest(parallel, world_size, batch_size, fits)
    if found is not None:
        return found
    possible = [n for n in range(1, _LOOK * world_size + 1) if _nearest(parallel, n, batch_size, fits)]
    near = [*[n for n in possible if n < world_size][-1:], *[n for n in possible if n > world_size][:1]]
    raise ConfigError(
        f"No layout of {world_size} processes will do: of tensor {parallel.tensor} x pipeline {parallel.pipeline} "
        "or less, none fits the devices and has a sequence for each data-parallel rank.",
        f"Use {' or '.join(map(str, near))} processes." if near else "Enlarge train.batch, or use a smaller model.",
    )


def _nearest(
    parallel: ParallelConfig, world_size: int, batch_size: int | None, fits: Callable[[ParallelConfig], bool]
) -> ParallelConfig | None:
    divisors = (degree for degree in range(parallel.tensor, 0, -1) if parallel.tensor % degree == 0)
    for tensor in divisors:
        for pipeline in range(parallel.pipeline, 0, -1):
            data, rest = divmod(world_size, tensor * pipeline)
            if rest or (batch_size is not None and data > batch_size):
                continue
            found = parallel.model_copy(update={"tensor": tensor, "pipeline": pipeline, "data": data})
            if fits(found):
                return found
    return None


@dataclass(frozen=True)
class Fitted:
    """A configuration whose layout is one of the processes that there are.

    Attributes:
        merged: the configuration with that layout.
        num_ranks: how many of the processes it uses: the first ones.
        note: a sentence if that is not what was planned.
    """

    merged: MergedConfig
    num_ranks: int
    note: str = ""


def fit_to_world(
    merged: MergedConfig, world_size: int, *, fits: Callable[[ParallelConfig], bool] = lambda _: True
) -> Fitted:
    """Plan the layout for ``world_size`` processes, or for the most of them that there is one for.

    A layout that is of so many processes already is left as it is; whether it can be afforded is for others to say.

    Raises:
        ConfigError: there is none for this many, nor for fewer.
    """
    planned, batch_size = merged.run.parallel, merged.run.train.batch.end
    if planned.pipeline * planned.data * planned.tensor == world_size:
        return Fitted(merged, world_size)
    found = (_nearest(planned, size, batch_size, fits) for size in range(world_size, 0, -1))
    layout = next(filter(None, found), None) or plan_layout(planned, world_size, batch_size=batch_size, fits=fits)
    num_ranks = layout.pipeline * layout.data * layout.tensor
    spare, parts = world_size - num_ranks, []
    if spare:
        parts.append(f"{spare} of them {'stands' if spare == 1 else 'stand'} by")
    if layout != planned:
        parts.append(f"the config says {_text(planned)}")
        origin = f"re-planned for {world_size} processes"
        origins = {**merged.origins} | {("parallel", axis): origin for axis in ("tensor", "pipeline", "data")}
        merged = MergedConfig(merged.run.model_copy(update={"parallel": layout}), origins)
    note = "; ".join([f"Layout for {world_size} processes: {_text(layout)}", *parts]) + "." if parts else ""
    return Fitted(merged, num_ranks, note)


def _text(parallel: ParallelConfig) -> str:
    return f"pipeline {parallel.pipeline} x data {parallel.data} x tensor {parallel.tensor}"
