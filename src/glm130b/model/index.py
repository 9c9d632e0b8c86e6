"""The index of a model folder: which tensor lies in which shard, and the checksums of all of it.

``model.safetensors.index.json`` is Hugging Face's, with more: ``shards`` holds the size and SHA-256 of each file,
``tensor_sha256`` that of each tensor's bytes, ``config_sha256`` that of ``config.json``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from glm130b.errors import ModelError
from glm130b.files import read_json, sha256_of_file, write_json
from glm130b.model.shard import ShardRecord, sha256_of

INDEX = "model.safetensors.index.json"


@dataclass(frozen=True)
class Index:
    """Attributes: ``files`` by tensor; ``sizes`` and ``sha256`` by file; ``digests`` by tensor.

    The last three are empty, and ``config_sha256`` is None, in folders of an earlier version.
    """

    files: Mapping[str, str]
    sizes: Mapping[str, int]
    sha256: Mapping[str, str]
    digests: Mapping[str, str]
    config_sha256: str | None


def write_index(folder: Path, records: Mapping[str, ShardRecord], total_size: int) -> None:
    """Write the index of the shards ``records``, by file, and of ``config.json``; it is the last file written."""
    tensors = {name: digest for record in records.values() for name, digest in record.tensors.items()}
    write_json(
        folder / INDEX,
        {
            "metadata": {"total_size": total_size},
            "weight_map": {name: file for file, record in records.items() for name in record.tensors},
            "shards": {file: {"size": record.size, "sha256": record.sha256} for file, record in records.items()},
            "tensor_sha256": tensors,
            "config_sha256": sha256_of_file(folder / "config.json"),
        },
    )


def read_index(folder: Path) -> Index:
    """Read the index.

    Raises:
        ModelError: missing (the folder is incomplete), or not one whose parts agree.
    """
    content = read_json(folder / INDEX, ModelError)
    try:
        index = Index(
            {str(name): str(file) for name, file in content["weight_map"].items()},
            {str(file): int(facts["size"]) for file, facts in content.get("shards", {}).items()},
            {str(file): str(facts["sha256"]) for file, facts in content.get("shards", {}).items()},
            {str(name): str(digest) for name, digest in content.get("tensor_sha256", {}).items()},
            content.get("config_sha256"),
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        raise ModelError(f"{folder / INDEX} is not an index of weights.", "Make or copy the folder again.") from None
    recorded = index.sizes or index.digests or index.config_sha256
    if recorded and (index.sizes.keys() != set(index.files.values()) or index.digests.keys() != index.files.keys()):
        raise ModelError(
            f"{folder / INDEX} is damaged: its parts do not speak of the same files and tensors.", "Copy it again."
        )
    return index


def damaged_tensors(folder: Path, file: str, index: Index) -> list[str]:
    """Names of the tensors in a shard whose bytes are not those that were written; its own name if it has none."""
    names = [name for name, home in index.files.items() if home == file]
    try:
        with safe_open(folder / file, framework="pt") as shard:
            return [name for name in names if sha256_of(shard.get_tensor(name)) != index.digests[name]]
    except (SafetensorError, OSError, KeyError):
        return [file]
