"""What is done on every rank, or on none."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import TypeVar

from glm130b.errors import GLMError
from glm130b.parallel import World

T = TypeVar("T")


def on_all(world: World, action: Callable[[], T]) -> list[T]:
    """What ``action`` gives on each rank, on every rank; where it fails on one, it fails on all.

    So no rank waits for another that has given up. Collective.

    Raises:
        GLMError: that of the first rank that has one.
        RuntimeError: another exception, on ranks other than its own.
    """
    own: Exception | None = None
    told: GLMError | str | None = None
    result: list[T] = []
    try:
        result = [action()]
    except GLMError as error:
        own = told = error
    except Exception as error:
        own, told = error, f"Rank {world.rank} failed:\n{''.join(traceback.format_exception(error))}"
    answers = world.gather((result, told))
    if own is not None:
        raise own
    for _, failure in answers:
        if failure is not None:
            raise failure if isinstance(failure, GLMError) else RuntimeError(failure)
    return [value for values, _ in answers for value in values]
