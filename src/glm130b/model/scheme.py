"""How the weights of a model are quantised, and how a model folder says so."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from glm130b.errors import ModelError
from glm130b.model.layer import is_cut_by_columns

Bits = Literal[8, 4]
GroupSize = Literal[128, 64, 32]
GROUP_SIZES: tuple[GroupSize, ...] = (128, 64, 32)
OUTPUT = "output.weight"
"""The quantised copy of the embedding that logits are computed with."""

_LAYOUT_VERSION = 2
_BITS = (8, 4)


@dataclass(frozen=True)
class Scheme:
    """Symmetric absmax quantisation of a model's matrices; biases, norms and the embedding stay as they are.

    Attributes:
        bits: of the linear maps of the layers.
        group_size: consecutive columns that share a scale; None for one scale a row, as the paper has it.
        scale_shards: scales a row, without groups, of the matrices that tensor parallelism cuts by columns: one for
            each rank they come from.
        output_bits: of a copy of the embedding that logits are computed with, with one scale a row; None if the
            embedding itself does that, too.
    """

    bits: Bits
    group_size: int | None = None
    scale_shards: int = 1
    output_bits: Bits | None = None

    def __post_init__(self) -> None:
        if self.group_size is not None and self.scale_shards != 1:
            raise ValueError("groups of columns and one scale for each rank exclude one another")

    def num_scales(self, name: str, columns: int) -> int:
        """Scales a row of the matrix ``name``, each for as many consecutive columns.

        Raises:
            ValueError: the columns do not divide.
        """
        if name == OUTPUT:
            return 1
        if self.group_size is not None:
            if columns % self.group_size:
                raise ValueError(f"its {columns} columns do not divide into groups of {self.group_size}")
            return columns // self.group_size
        shards = self.scale_shards if is_cut_by_columns(name) else 1
        if columns % shards:
            raise ValueError(f"its {columns} columns do not divide among {shards} ranks")
        return shards

    def __str__(self) -> str:
        if self.group_size is not None:
            scales = f" in groups of {self.group_size}"
        else:
            scales = " by rows" if self.scale_shards == 1 else f" by rows with scales for {self.scale_shards} ranks"
        output = "" if self.output_bits is None else f", output INT{self.output_bits}"
        return f"INT{self.bits}{scales}{output}"


def scheme_to_json(scheme: Scheme | None) -> dict[str, Any] | None:
    """What ``config.json`` says under ``quantization``."""
    if scheme is None:
        return None
    return {
        "layout_version": _LAYOUT_VERSION,
        "bits": scheme.bits,
        "group_size": scheme.group_size,
        "scale_shards": scheme.scale_shards,
        "symmetric": True,
        "output_bits": scheme.output_bits,
    }


def scheme_from_json(content: Any, path: Path) -> Scheme | None:
    """The inverse of ``scheme_to_json``; reads what earlier versions wrote, too: one scale a row or rank.

    Args:
        path: of the folder, for messages.

    Raises:
        ModelError: of a later layout, or of a kind that this version does not read.
        KeyError, TypeError, ValueError: malformed.
    """
    if content is None or content["bits"] is None:
        return None
    version = int(content.get("layout_version", 1))
    if version > _LAYOUT_VERSION:
        raise ModelError(
            f"{path} is quantised in layout {version}, and this version reads layouts up to {_LAYOUT_VERSION}.",
            "Update glm130b.",
        )
    bits, output_bits, group_size = content["bits"], content.get("output_bits"), content.get("group_size")
    for there in (bits, output_bits):
        if there not in (*_BITS, None):
            raise ModelError(f"{path} is quantised to {there} bits.", "This version reads 8 and 4.")
    if group_size not in (*GROUP_SIZES, None):
        raise ModelError(f"{path} is quantised in groups of {group_size} columns.", "This version reads 32, 64, 128.")
    if not content.get("symmetric", True):
        raise ModelError(f"{path} is quantised asymmetrically.", "This version reads symmetric weights.")
    scale_shards = int(content.get("scale_shards", 1))
    if scale_shards < 1:
        raise ValueError(f"{scale_shards} scales a row")
    return Scheme(bits, group_size, scale_shards, output_bits)
