"""The training loop and what it stands on."""

from glm130b.training.checkpoint import choose_checkpoint, latest_checkpoint
from glm130b.training.heldout import heldout_loss
from glm130b.training.loop import Outcome, Reporter, Trainer, train
from glm130b.training.metrics import Record, read_metrics
from glm130b.training.progress import Progress
from glm130b.training.runtime import keep_freed_memory, preflight, run_lock
from glm130b.training.schedule import Schedule

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
    "preflight",
    "read_metrics",
    "run_lock",
    "train",
]
