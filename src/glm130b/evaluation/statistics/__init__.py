"""How sure a measurement is, and whether two of them differ: NumPy and the standard library, nothing else."""

from glm130b.evaluation.statistics.clusters import ClusterSums
from glm130b.evaluation.statistics.distributions import at_least, normal_quantile, normal_two_sided
from glm130b.evaluation.statistics.estimate import Aggregate, estimate, is_share, value_of
from glm130b.evaluation.statistics.mcnemar import mcnemar
from glm130b.evaluation.statistics.multiple import holm
from glm130b.evaluation.statistics.paired import Change, Interval, mean_interval, paired_changes, student_quantile
from glm130b.evaluation.statistics.power import effect_of_error, effect_paired, effect_unpaired
from glm130b.evaluation.statistics.proportions import (
    effective_count,
    exact_interval,
    mean_of_shares,
    paired_difference,
    two_shares,
    wilson_interval,
)
from glm130b.evaluation.statistics.resampling import Spread, bootstrap, flip_test

__all__ = [
    "Aggregate",
    "Change",
    "ClusterSums",
    "Interval",
    "Spread",
    "at_least",
    "bootstrap",
    "effect_of_error",
    "effect_paired",
    "effect_unpaired",
    "effective_count",
    "estimate",
    "exact_interval",
    "flip_test",
    "holm",
    "is_share",
    "mcnemar",
    "mean_interval",
    "mean_of_shares",
    "normal_quantile",
    "normal_two_sided",
    "paired_changes",
    "paired_difference",
    "student_quantile",
    "two_shares",
    "value_of",
    "wilson_interval",
]
