"""Model folders and the official checkpoints."""

from glm130b.interop.folder import load, load_model, quantize_folder, resolve, weight_bytes, write_folder
from glm130b.interop.sat import read_sat

__all__ = [
    "load",
    "load_model",
    "quantize_folder",
    "read_sat",
    "resolve",
    "weight_bytes",
    "write_folder",
]
