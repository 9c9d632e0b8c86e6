"""Model folders and the official checkpoints."""

from glm130b.interop.convert import convert
from glm130b.interop.folder import load, load_model, quantize_folder, write_folder
from glm130b.interop.inspection import Description, FileCheck, describe, verify
from glm130b.interop.new_scheme import GroupChoice, new_scheme
from glm130b.interop.opened import Layout, Opened, open_model, resolve
from glm130b.interop.sat import open_sat, read_sat
from glm130b.interop.sharding import Rank, Whole

__all__ = [
    "Description",
    "FileCheck",
    "GroupChoice",
    "Layout",
    "Opened",
    "Rank",
    "Whole",
    "convert",
    "describe",
    "load",
    "load_model",
    "new_scheme",
    "open_model",
    "open_sat",
    "quantize_folder",
    "read_sat",
    "resolve",
    "verify",
    "write_folder",
]
