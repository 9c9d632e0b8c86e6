"""The GLM transformer as plain single-device PyTorch."""

from glm130b.model.attention import visible
from glm130b.model.cache import KVCache
from glm130b.model.device import checked_device, checked_devices
from glm130b.model.dropout import mix
from glm130b.model.folder_tensors import FolderTensors
from glm130b.model.glm import GLM, LINEAR_NAMES, Layer, is_cut_by_columns
from glm130b.model.index import (
    DESCRIPTIONS,
    INDEX,
    OPTIMIZER_INDEX,
    Index,
    damaged_tensors,
    index_of_file,
    read_index,
    write_index,
)
from glm130b.model.init import build_model, init_parameters, initial_value
from glm130b.model.pieces import Piece, cuts_of
from glm130b.model.region import Region, joined
from glm130b.model.rope import inverse_frequencies
from glm130b.model.shard import InMemory, ShardRecord, TensorInfo, TensorSource, sha256_of, tensor_bytes, write_shard
from glm130b.model.storage import (
    MAX_SHARD_BYTES,
    Bits,
    FolderInfo,
    assign_tensors,
    checked_tensors,
    checkpoints,
    read_info,
    read_tensors,
    write_info,
    write_tensors,
)

__all__ = [
    "DESCRIPTIONS",
    "GLM",
    "INDEX",
    "LINEAR_NAMES",
    "MAX_SHARD_BYTES",
    "OPTIMIZER_INDEX",
    "Bits",
    "FolderInfo",
    "FolderTensors",
    "InMemory",
    "Index",
    "KVCache",
    "Layer",
    "Piece",
    "Region",
    "ShardRecord",
    "TensorInfo",
    "TensorSource",
    "assign_tensors",
    "build_model",
    "checked_device",
    "checked_devices",
    "checked_tensors",
    "checkpoints",
    "cuts_of",
    "damaged_tensors",
    "index_of_file",
    "init_parameters",
    "initial_value",
    "inverse_frequencies",
    "is_cut_by_columns",
    "joined",
    "mix",
    "read_index",
    "read_info",
    "read_tensors",
    "sha256_of",
    "tensor_bytes",
    "visible",
    "write_index",
    "write_info",
    "write_shard",
    "write_tensors",
]
