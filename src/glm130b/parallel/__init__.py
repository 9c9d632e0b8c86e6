"""Places the plain model on a mesh of devices: tensor, pipeline and data parallel."""

from glm130b.parallel.held import Held
from glm130b.parallel.world import World

__all__ = ["Held", "World"]
