"""The training loop and what it stands on."""

from glm130b.training.checkpoint import Progress, choose_checkpoint, latest_checkpoint
from glm130b.training.heldout import heldout_loss
from glm130b.training.loop import Outcome, Reporter, train
from glm130b.training.runtime import run_lock
from glm130b.training.schedule import Schedule

__all__ = [
    "Outcome",
    "Progress",
    "Reporter",
    "Schedule",
    "choose_checkpoint",
    "heldout_loss",
    "latest_checkpoint",
    "run_lock",
    "train",
]
