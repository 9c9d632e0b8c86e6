"""Statistics of measurements on the same texts."""

from glm130b.evaluation.paired import Change, Interval, mean_interval, paired_changes, student_quantile

__all__ = ["Change", "Interval", "mean_interval", "paired_changes", "student_quantile"]
