"""The GLM transformer as plain single-device PyTorch."""

from glm130b.model.attention import visible
from glm130b.model.cache import KVCache
from glm130b.model.device import checked_device, checked_devices
from glm130b.model.dropout import mix
from glm130b.model.glm import GLM, LINEAR_NAMES, is_cut_by_columns
from glm130b.model.index import INDEX, Index, damaged_tensors, read_index
from glm130b.model.init import build_model, init_parameters
from glm130b.model.region import Region
from glm130b.model.rope import inverse_frequencies
from glm130b.model.shard import InMemory, TensorInfo, TensorSource, tensor_bytes
from glm130b.model.storage import (
    MAX_SHARD_BYTES,
    Bits,
    FolderInfo,
    FolderTensors,
    assign_tensors,
    checked_tensors,
    checkpoints,
    read_info,
    read_tensors,
    write_tensors,
)

__all__ = [
    "GLM",
    "INDEX",
    "LINEAR_NAMES",
    "MAX_SHARD_BYTES",
    "Bits",
    "FolderInfo",
    "FolderTensors",
    "InMemory",
    "Index",
    "KVCache",
    "Region",
    "TensorInfo",
    "TensorSource",
    "assign_tensors",
    "build_model",
    "checked_device",
    "checked_devices",
    "checked_tensors",
    "checkpoints",
    "damaged_tensors",
    "init_parameters",
    "inverse_frequencies",
    "is_cut_by_columns",
    "mix",
    "read_index",
    "read_info",
    "read_tensors",
    "tensor_bytes",
    "visible",
    "write_tensors",
]
