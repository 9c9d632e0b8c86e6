"""Places the plain model on a mesh of devices: tensor, pipeline and data parallel."""

from glm130b.parallel.fake import Share, check_placement, fake_mesh
from glm130b.parallel.gradients import Gradients, Norms
from glm130b.parallel.held import TIED, Held
from glm130b.parallel.links import Link, check_links
from glm130b.parallel.mesh import Mesh, Precision
from glm130b.parallel.pipeline import Runner, make_runner
from glm130b.parallel.place import Placed, place_model
from glm130b.parallel.stage import Head, Stage
from glm130b.parallel.tensor import check_divides
from glm130b.parallel.world import World
from glm130b.planning import num_stages, padded_micro_batches, split_layers, stages_on

__all__ = [
    "TIED",
    "Gradients",
    "Head",
    "Held",
    "Link",
    "Mesh",
    "Norms",
    "Placed",
    "Precision",
    "Runner",
    "Share",
    "Stage",
    "World",
    "check_divides",
    "check_links",
    "check_placement",
    "fake_mesh",
    "make_runner",
    "num_stages",
    "padded_micro_batches",
    "place_model",
    "split_layers",
    "stages_on",
]
