"""Tensors in pieces: rectangles, each stored under a key of its own, that together are the whole.

Ranks that hold parts of one tensor write them side by side. A piece that is all of its tensor keeps the tensor's
name as its key, so files of whole tensors are the special case in which nothing is cut.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from glm130b.errors import ModelError
from glm130b.model.region import Region, covers
from glm130b.model.shard import DTYPE_NAMES, DTYPES, TensorInfo


@dataclass(frozen=True)
class Piece:
    """A rectangle of a tensor.

    Attributes:
        name: of the tensor.
        whole: shape and type of all of it.
        region: which rectangle.
    """

    name: str
    whole: TensorInfo
    region: Region

    @property
    def key(self) -> str:
        """What it is stored under: ``name``, or ``name@row,column`` of its first value if it is not all."""
        if self.region == Region.whole(self.whole.shape):
            return self.name
        return f"{self.name}@{','.join(str(side.start) for side in self.region.slices)}"


@dataclass(frozen=True)
class Cut:
    """A tensor that lies in pieces.

    Attributes:
        whole: shape and type of all of it.
        regions: which rectangle each key is.
    """

    whole: TensorInfo
    regions: Mapping[str, Region]


def cuts_of(pieces: Iterable[Piece]) -> dict[str, Cut]:
    """How the tensors lie that are not stored whole, by name.

    Raises:
        ModelError: the pieces of a tensor are not all of it, or some of it twice; by name.
    """
    groups: dict[str, list[Piece]] = {}
    for piece in pieces:
        groups.setdefault(piece.name, []).append(piece)
    cuts = {}
    for name, group in groups.items():
        whole = group[0].whole
        if any(piece.whole != whole for piece in group) or not covers(whole.shape, [piece.region for piece in group]):
            raise ModelError(
                f"The pieces of {name} that the ranks hold do not make it up exactly once.",
                "Please report this with the configuration of the run.",
            )
        if len(group) > 1:
            cuts[name] = Cut(whole, {piece.key: piece.region for piece in group})
    return cuts


def cuts_to_json(cuts: Mapping[str, Cut]) -> dict[str, Any]:
    """Plain values: by name the whole's shape and type, and for each key its ``[first, end)`` by dimension."""
    return {
        name: {
            "shape": list(cut.whole.shape),
            "dtype": DTYPE_NAMES[cut.whole.dtype],
            "keys": {key: [[side.start, side.stop] for side in region.slices] for key, region in cut.regions.items()},
        }
        for name, cut in cuts.items()
    }


def cuts_from_json(content: Mapping[str, Any]) -> dict[str, Cut]:
    """Undo ``cuts_to_json``.

    Raises:
        ValueError: a tensor is no vector or matrix, or its pieces do not make it up exactly once; by name.
        KeyError, TypeError, AttributeError: it is something else.
    """
    cuts = {}
    for name, facts in content.items():
        whole = TensorInfo(tuple(map(int, facts["shape"])), DTYPES[facts["dtype"]])
        regions = {str(key): _region(sides) for key, sides in facts["keys"].items()}
        same_rank = {len(region.slices) for region in regions.values()} == {len(whole.shape)}
        if not (same_rank and covers(whole.shape, regions.values())):
            raise ValueError(f"the pieces of {name} do not make it up exactly once")
        cuts[str(name)] = Cut(whole, regions)
    return cuts


def _region(sides: Any) -> Region:
    bounds = [(int(first), int(end)) for first, end in sides]
    return Region(*bounds)
