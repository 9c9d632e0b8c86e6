"""The shards of a checkpoint: each rank's own, and the indexes that make them one folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from glm130b.config import ModelConfig
from glm130b.model import (
    OPTIMIZER_INDEX,
    FolderTensors,
    InMemory,
    Piece,
    ShardRecord,
    TensorInfo,
    cuts_of,
    index_of_file,
    read_index,
    sha256_of,
    write_index,
    write_shard,
)
from glm130b.parallel import World
from glm130b.planning import parameter_shapes
from glm130b.training.checkpoint_parts import MOMENTS, Part
from glm130b.training.guard import check_tensors


@dataclass(frozen=True)
class Shards:
    """Shards that one index lists: a record by file, and the pieces in all of them."""

    records: Mapping[str, ShardRecord]
    pieces: Sequence[Piece]

    @property
    def digests(self) -> dict[str, str]:
        """SHA-256 of what is stored, by key."""
        return {key: digest for record in self.records.values() for key, digest in record.tensors.items()}


def write_shards(folder: Path, index: str, parts: Sequence[Part], world: World) -> Shards:
    """Write what this rank stands for into a shard of its own, synced to disk; none if that is nothing.

    Raises:
        OSError: the disk is full or not writable.
    """
    counted = {part.piece.key: part.values for part in parts if part.counts}
    if not counted:
        return Shards({}, [])
    stem = index.split(".")[0]
    file = f"{stem}-{world.rank + 1:05d}-of-{world.size:05d}.safetensors"
    record = write_shard(folder / file, list(counted), InMemory(counted))
    return Shards({file: record}, [part.piece for part in parts if part.counts])


def replica_digests(parts: Sequence[Part]) -> dict[str, str]:
    """SHA-256 of what this rank holds and another stands for, by key."""
    replicas = {part.piece.key: part.values for part in parts if not part.counts}
    source = InMemory(replicas)
    return {key: sha256_of(source.read(key)) for key in replicas}


def write_merged_index(folder: Path, index: str, ranks: Sequence[Shards]) -> None:
    """Write the index of all ranks' shards.

    Raises:
        ModelError: together they do not hold each tensor exactly once.
    """
    records = {file: record for rank in ranks for file, record in rank.records.items()}
    pieces = [piece for rank in ranks for piece in rank.pieces]
    size = sum(TensorInfo(piece.region.shape, piece.whole.dtype).nbytes for piece in pieces)
    write_index(folder, records, size, cuts_of(pieces), name=index)


def open_checkpoint(path: Path) -> tuple[FolderTensors, FolderTensors]:
    """Parameters and optimizer state of a checkpoint, as they are: not compared with their checksums.

    Raises:
        ModelError: an index is missing or damaged.
    """
    # Earlier versions wrote the optimizer's state into one file without an index.
    single = "optimizer.safetensors"
    early = (path / single).is_file() and not (path / OPTIMIZER_INDEX).exists()
    index = index_of_file(path, single) if early else read_index(path, OPTIMIZER_INDEX)
    return FolderTensors(path, verify=False), FolderTensors(path, verify=False, index=index)


def check_whole(
    path: Path, parameters: FolderTensors, optimizer: FolderTensors, config: ModelConfig, updates: int
) -> None:
    """Refuse a checkpoint that does not hold just the parameters and averages that it should.

    Args:
        path: how the checkpoint is called in what is raised.
        updates: times the optimizer has moved the parameters; before the first it has no averages.

    Raises:
        ModelError: with the first tensor that is missing, superfluous or of another shape.
    """
    shapes = parameter_shapes(config)
    check_tensors(path, parameters.infos, shapes)
    averages = {f"{kind}.{name}": shape for name, shape in shapes.items() for kind in MOMENTS}
    check_tensors(path, optimizer.infos, averages if updates else {})
