"""The way to lm-evaluation-harness and back: a model of ours in it, and our tasks as its task folders.

Importing this needs neither torch nor the harness; using ``GLMHarness`` or ``run_harness`` does.
"""

from typing import TYPE_CHECKING, Any

from glm130b.evaluation.harness.export import export_task

if TYPE_CHECKING:
    from glm130b.evaluation.harness.bridge import GLMHarness
    from glm130b.evaluation.harness.run import run_harness

_WITH_HARNESS = {"GLMHarness": "bridge", "run_harness": "run"}

__all__ = ["GLMHarness", "export_task", "run_harness"]


def __getattr__(name: str) -> Any:
    if name not in _WITH_HARNESS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_WITH_HARNESS[name]}"), name)
