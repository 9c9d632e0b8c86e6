"""Every metric, by the name that task files use."""

from glm130b.evaluation.metrics import (
    accuracy,
    ada_leval,
    bias,
    bigbench,
    classification,
    entity,
    grouped,
    likelihood,
    mmlu,
    rouge,
    text,
    toxicity,
)
from glm130b.evaluation.metrics.metric import Floats, Metric, ratio, unit_of

METRICS: dict[str, Metric] = {
    metric.name: metric
    for module in (
        accuracy,
        ada_leval,
        bias,
        bigbench,
        classification,
        entity,
        grouped,
        likelihood,
        mmlu,
        rouge,
        text,
        toxicity,
    )
    for metric in module.METRICS
}

__all__ = ["METRICS", "Floats", "Metric", "ratio", "unit_of"]
