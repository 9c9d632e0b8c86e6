"""The training loop and what it stands on."""

from glm130b.training.checkpoint import choose_checkpoint, latest_checkpoint
from glm130b.training.checkpoint_writer import CheckpointWriter
from glm130b.training.dry_run import preflight_report
from glm130b.training.heldout import heldout_loss, heldout_losses, losses_of
from glm130b.training.ledger import Ledger
from glm130b.training.lineage import Explanation, Session, explain, read_sessions
from glm130b.training.loop import Outcome, Reporter, train
from glm130b.training.metrics import Record, read_metrics
from glm130b.training.preflight import check_layout, check_mixture, fits, preflight
from glm130b.training.progress import Progress
from glm130b.training.runtime import keep_freed_memory, run_lock
from glm130b.training.schedule import Schedule
from glm130b.training.schedule_table import Row, schedule_table, table_text
from glm130b.training.trainer import Trainer

__all__ = [
    "CheckpointWriter",
    "Explanation",
    "Ledger",
    "Outcome",
    "Progress",
    "Record",
    "Reporter",
    "Row",
    "Schedule",
    "Session",
    "Trainer",
    "check_layout",
    "check_mixture",
    "choose_checkpoint",
    "explain",
    "fits",
    "heldout_loss",
    "heldout_losses",
    "keep_freed_memory",
    "latest_checkpoint",
    "losses_of",
    "preflight",
    "preflight_report",
    "read_metrics",
    "read_sessions",
    "run_lock",
    "schedule_table",
    "table_text",
    "train",
]
