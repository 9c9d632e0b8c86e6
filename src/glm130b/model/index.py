"""The index of a folder of shards: which tensor lies in which shard, how it is cut, and the checksums of all of it.

``model.safetensors.index.json`` is Hugging Face's, with more: ``shards`` holds the size and SHA-256 of each file,
``tensor_sha256`` that of each stored tensor's bytes, ``config_sha256`` that of ``config.json``. A tensor that lies
in pieces (``model/pieces.py``) is in ``weight_map`` by the keys of its pieces, and in ``pieces`` by its name.
``optimizer.safetensors.index.json`` of a checkpoint is its like, with ``training_state_sha256``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from glm130b.errors import ModelError
from glm130b.files import read_json, sha256_of_file, write_json
from glm130b.model.pieces import Cut, cuts_from_json, cuts_to_json
from glm130b.model.shard import ShardRecord, sha256_of

INDEX = "model.safetensors.index.json"
OPTIMIZER_INDEX = "optimizer.safetensors.index.json"

DESCRIPTIONS = {INDEX: "config.json", OPTIMIZER_INDEX: "training_state.json"}
"""The file that says what the tensors are, by index; its SHA-256 is recorded."""


@dataclass(frozen=True)
class Index:
    """What an index says; a *key* is what a tensor, or a piece of one, is stored under.

    All but ``files`` is empty, and ``description_sha256`` None, in folders of an earlier version.

    Attributes:
        files: by key.
        sizes, sha256: by file.
        digests: SHA-256 of the stored bytes, by key.
        description_sha256: of ``config.json`` or, for an optimizer, of ``training_state.json``.
        cuts: the tensors that lie in pieces, by name.
    """

    files: Mapping[str, str]
    sizes: Mapping[str, int]
    sha256: Mapping[str, str]
    digests: Mapping[str, str]
    description_sha256: str | None
    cuts: Mapping[str, Cut]


def write_index(
    folder: Path, records: Mapping[str, ShardRecord], total_size: int, cuts: Mapping[str, Cut], *, name: str = INDEX
) -> None:
    """Write the index of the shards ``records``, by file, and of the file that describes them, which is there.

    Args:
        total_size: bytes of all tensors.
        cuts: those of them that lie in pieces.
        name: ``INDEX`` or ``OPTIMIZER_INDEX``.
    """
    tensors = {key: digest for record in records.values() for key, digest in record.tensors.items()}
    described = DESCRIPTIONS[name]
    content = {
        "metadata": {"total_size": total_size},
        "weight_map": {key: file for file, record in records.items() for key in record.tensors},
        "shards": {file: {"size": record.size, "sha256": record.sha256} for file, record in records.items()},
        "tensor_sha256": tensors,
        _description_key(name): sha256_of_file(folder / described),
    }
    write_json(folder / name, content | ({"pieces": cuts_to_json(cuts)} if cuts else {}))


def read_index(folder: Path, name: str = INDEX) -> Index:
    """Read an index.

    Raises:
        ModelError: missing (the folder is incomplete), or not one whose parts agree.
    """
    content = read_json(folder / name, ModelError)
    try:
        index = Index(
            {str(key): str(file) for key, file in content["weight_map"].items()},
            {str(file): int(facts["size"]) for file, facts in content.get("shards", {}).items()},
            {str(file): str(facts["sha256"]) for file, facts in content.get("shards", {}).items()},
            {str(key): str(digest) for key, digest in content.get("tensor_sha256", {}).items()},
            content.get(_description_key(name)),
            cuts_from_json(content.get("pieces", {})),
        )
    except ValueError as error:
        raise ModelError(f"{folder / name} is not an index of weights: {error}.", "Make or copy it again.") from None
    except (KeyError, TypeError, AttributeError):
        raise ModelError(f"{folder / name} is not an index of weights.", "Make or copy the folder again.") from None
    recorded = index.sizes or index.digests or index.description_sha256
    keys_of_pieces = {key for cut in index.cuts.values() for key in cut.regions}
    if (
        recorded and (index.sizes.keys() != set(index.files.values()) or index.digests.keys() != index.files.keys())
    ) or not keys_of_pieces <= index.files.keys():
        raise ModelError(
            f"{folder / name} is damaged: its parts do not speak of the same files and tensors.", "Copy it again."
        )
    return index


def index_of_file(folder: Path, file: str) -> Index:
    """The index of a single shard that has none, as optimizer states of an earlier version.

    Raises:
        ModelError: missing, truncated or damaged.
    """
    try:
        with safe_open(folder / file, framework="pt") as shard:
            return Index(dict.fromkeys(shard.keys(), file), {}, {}, {}, None, {})
    except FileNotFoundError:
        raise ModelError(f"{folder / file} is missing.", "Use an earlier checkpoint.") from None
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"{folder / file} is truncated or damaged ({error}).", "Copy it again, or use an earlier checkpoint."
        ) from None


def damaged_tensors(folder: Path, file: str, index: Index) -> list[str]:
    """Names of the tensors in a shard whose bytes are not those that were written; its own name if it has none."""
    names = [name for name, home in index.files.items() if home == file]
    try:
        with safe_open(folder / file, framework="pt") as shard:
            return [name for name in names if sha256_of(shard.get_tensor(name)) != index.digests[name]]
    except (SafetensorError, OSError, KeyError):
        return [file]


def _description_key(name: str) -> str:
    return f"{DESCRIPTIONS[name].removesuffix('.json')}_sha256"
