"""Every metric, by the name that task files use."""

from importlib import import_module

from glm130b.evaluation.metrics.metric import Floats, Metric, ratio, unit_of

_MODULES = (
    "accuracy",
    "ada_leval",
    "bias",
    "bigbench",
    "classification",
    "entity",
    "grouped",
    "likelihood",
    "mmlu",
    "rouge",
    "text",
    "toxicity",
)

METRICS: dict[str, Metric] = {
    metric.name: metric for module in _MODULES for metric in import_module(f"{__name__}.{module}").METRICS
}

__all__ = ["METRICS", "Floats", "Metric", "ratio", "unit_of"]
