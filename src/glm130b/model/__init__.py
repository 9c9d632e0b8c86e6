"""The GLM transformer as plain single-device PyTorch."""

from glm130b.model.attention import visible
from glm130b.model.cache import KVCache
from glm130b.model.device import checked_device
from glm130b.model.dropout import mix
from glm130b.model.glm import GLM, LINEAR_NAMES
from glm130b.model.init import build_model, init_parameters
from glm130b.model.storage import (
    MAX_SHARD_BYTES,
    Bits,
    FolderInfo,
    assign_tensors,
    checked_tensors,
    checkpoints,
    read_info,
    read_tensors,
    write_tensors,
)

__all__ = [
    "GLM",
    "LINEAR_NAMES",
    "MAX_SHARD_BYTES",
    "Bits",
    "FolderInfo",
    "KVCache",
    "assign_tensors",
    "build_model",
    "checked_device",
    "checked_tensors",
    "checkpoints",
    "init_parameters",
    "mix",
    "read_info",
    "read_tensors",
    "visible",
    "write_tensors",
]
