"""The training loop and what it stands on."""

from glm130b.training.checkpoint import choose_checkpoint, latest_checkpoint
from glm130b.training.heldout import heldout_loss, losses_of
from glm130b.training.loop import Outcome, Reporter, train
from glm130b.training.metrics import Record, read_metrics
from glm130b.training.preflight import preflight
from glm130b.training.progress import Progress
from glm130b.training.runtime import keep_freed_memory, run_lock
from glm130b.training.schedule import Schedule
from glm130b.training.trainer import Trainer

__all__ = [
    "Outcome",
    "Progress",
    "Record",
    "Reporter",
    "Schedule",
    "Trainer",
    "choose_checkpoint",
    "heldout_loss",
    "keep_freed_memory",
    "latest_checkpoint",
    "losses_of",
    "preflight",
    "read_metrics",
    "run_lock",
    "train",
]
