"""How a model is to be quantised: what was asked for, and what goes without saying."""

from __future__ import annotations

from typing import Literal

from glm130b.config import ModelConfig
from glm130b.errors import ConfigError, ModelError
from glm130b.interop.opened import Opened
from glm130b.model import GROUP_SIZES, Bits, GroupSize, Scheme

GroupChoice = GroupSize | Literal["row"]
"""Columns that share a scale, or ``row`` for all of a row."""


def new_scheme(
    opened: Opened,
    bits: Bits | None,
    group_size: GroupChoice | None = None,
    output_bits: Bits | None = None,
    *,
    scale_shards: int | None = None,
) -> Scheme | None:
    """The scheme to quantise by, or None if the weights are quantised so already, or are to stay as they are.

    Args:
        bits, output_bits: see ``Scheme``; None for none.
        group_size: see ``GroupChoice``; default the largest groups that divide all columns or, for official weights and
            where none does, ``row``.
        scale_shards: quantise as if for so many ranks, which leaves no groups.

    Raises:
        ConfigError: not what weights can be quantised to, or parts of it exclude one another.
        ModelError: the weights are quantised otherwise.
    """
    _check_bits(bits, "Weights cannot")
    _check_bits(output_bits, "The output cannot")
    if group_size not in (None, "row", *GROUP_SIZES) or isinstance(group_size, float):
        raise ConfigError(f"There are no groups of {group_size!r} columns.", "Use 128, 64, 32 or row.")
    if bits is None:
        if group_size is not None or output_bits is not None:
            raise ConfigError("Groups and an output of few bits are parts of quantising.", "Say how many bits.")
        return None
    if opened.scheme is not None:
        there = opened.scheme
        if scale_shards not in (None, there.scale_shards):
            raise ConfigError(
                f"{opened.path} is quantised for {there.scale_shards} ranks already.",
                "Leave the number of ranks out, or begin with unquantised weights.",
            )
        same_groups = group_size in (None, there.group_size or "row")
        if bits != there.bits or not same_groups or output_bits not in (None, there.output_bits):
            raise ModelError(f"{opened.path} is quantised already: {there}.", "Quantise the original.")
        return None
    if scale_shards is not None:
        if group_size not in (None, "row"):
            raise ConfigError("Groups of columns and scales for ranks exclude one another.", "Leave one of them out.")
        group_size = "row"
    group_size = group_size or _default_group_size(opened.config)
    return Scheme(bits, None if group_size == "row" else group_size, scale_shards or 1, output_bits)


def _default_group_size(config: ModelConfig) -> GroupChoice:
    if config.conventions == "official":
        return "row"
    widths = (config.hidden_size, config.ffn_size)
    return next((size for size in GROUP_SIZES if not any(width % size for width in widths)), "row")


def _check_bits(bits: object, what: str) -> None:
    if bits not in (None, 8, 4) or isinstance(bits, float):
        raise ConfigError(f"{what} be quantised to {bits!r} bits.", "Use 8 or 4.")
