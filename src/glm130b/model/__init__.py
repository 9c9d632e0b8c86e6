"""The GLM transformer as plain single-device PyTorch."""

from glm130b.model.attention import Visibility, visible
from glm130b.model.cache import KVCache
from glm130b.model.device import checked_device, checked_devices
from glm130b.model.dropout import mix
from glm130b.model.folder_tensors import FolderTensors
from glm130b.model.geglu import geglu
from glm130b.model.glm import GLM
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
from glm130b.model.layer import LINEAR_NAMES, Layer, LayerInputs, is_cut_by_columns
from glm130b.model.pieces import Piece, cuts_of
from glm130b.model.region import Region, joined
from glm130b.model.rope import Tables, inverse_frequencies, rotary_tables
from glm130b.model.scheme import GROUP_SIZES, OUTPUT, Bits, GroupSize, Scheme
from glm130b.model.shard import InMemory, ShardRecord, TensorInfo, TensorSource, sha256_of, tensor_bytes, write_shard
from glm130b.model.storage import (
    MAX_SHARD_BYTES,
    FolderInfo,
    assign_tensors,
    checked_tensors,
    checkpoints,
    read_info,
    read_tensors,
    write_info,
    write_tensors,
)
from glm130b.model.streaming import block_size

__all__ = [
    "DESCRIPTIONS",
    "GLM",
    "GROUP_SIZES",
    "INDEX",
    "LINEAR_NAMES",
    "MAX_SHARD_BYTES",
    "OPTIMIZER_INDEX",
    "OUTPUT",
    "Bits",
    "FolderInfo",
    "FolderTensors",
    "GroupSize",
    "InMemory",
    "Index",
    "KVCache",
    "Layer",
    "LayerInputs",
    "Piece",
    "Region",
    "Scheme",
    "ShardRecord",
    "Tables",
    "TensorInfo",
    "TensorSource",
    "Visibility",
    "assign_tensors",
    "block_size",
    "build_model",
    "checked_device",
    "checked_devices",
    "checked_tensors",
    "checkpoints",
    "cuts_of",
    "damaged_tensors",
    "geglu",
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
    "rotary_tables",
    "sha256_of",
    "tensor_bytes",
    "visible",
    "write_index",
    "write_info",
    "write_shard",
    "write_tensors",
]
