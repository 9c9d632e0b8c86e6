"""Memory, FLOPs and time before anything runs."""

from glm130b.planning.balance import (
    StageShape,
    num_stages,
    padded_micro_batches,
    split_layers,
    stage_shapes,
    stages_on,
)
from glm130b.planning.estimate import (
    DEVICES,
    UTILISATION,
    Device,
    Step,
    num_micro_batches,
    peak_memory,
    step_seconds,
)
from glm130b.planning.flops import Work, forward_flops, hardware_flops, training_flops
from glm130b.planning.inference import Answering, Precision, WeightBytes, answering, cache_bytes
from glm130b.planning.inference_devices import PAPER_MACHINES, READERS, Machine, Reader, parse_machine
from glm130b.planning.inference_report import inference_text
from glm130b.planning.memory import Memory, checkpoint_copy, num_shards, rank_memory, rank_parameters
from glm130b.planning.pipeline import bubble_share, in_flight
from glm130b.planning.remedy import memory_remedy
from glm130b.planning.report import columns, plan_text, ranks_text
from glm130b.planning.size import parameter_count, parameter_shapes

__all__ = [
    "DEVICES",
    "PAPER_MACHINES",
    "READERS",
    "UTILISATION",
    "Answering",
    "Device",
    "Machine",
    "Memory",
    "Precision",
    "Reader",
    "StageShape",
    "Step",
    "WeightBytes",
    "Work",
    "answering",
    "bubble_share",
    "cache_bytes",
    "checkpoint_copy",
    "columns",
    "forward_flops",
    "hardware_flops",
    "in_flight",
    "inference_text",
    "memory_remedy",
    "num_micro_batches",
    "num_shards",
    "num_stages",
    "padded_micro_batches",
    "parameter_count",
    "parameter_shapes",
    "parse_machine",
    "peak_memory",
    "plan_text",
    "rank_memory",
    "rank_parameters",
    "ranks_text",
    "split_layers",
    "stage_shapes",
    "stages_on",
    "step_seconds",
    "training_flops",
]
