"""Weights beyond main or GPU memory: served from the mapped file or the host, a layer ahead."""

from glm130b.offload.assign import assign_streamed, automatic_limit
from glm130b.offload.large_pages import read_in_large_pages
from glm130b.offload.pages import Resident, available_memory, forget_cached
from glm130b.offload.probe import disk_bandwidth, memory_bandwidth

__all__ = [
    "Resident",
    "assign_streamed",
    "automatic_limit",
    "available_memory",
    "disk_bandwidth",
    "forget_cached",
    "memory_bandwidth",
    "read_in_large_pages",
]
