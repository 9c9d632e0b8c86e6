"""Memory, FLOPs and time before anything runs."""

from glm130b.planning.flops import Work, forward_flops, training_flops
from glm130b.planning.size import parameter_count, parameter_shapes

__all__ = ["Work", "forward_flops", "parameter_count", "parameter_shapes", "training_flops"]
