"""Which model answers: what tells its answers from another's."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from glm130b.errors import ModelError
from glm130b.files import sha256_of_file, write_whole
from glm130b.interop import open_model
from glm130b.model import GLM
from glm130b.tokenization import Tokenizer

_THREADS = 4
_DIGESTS = "weights.json"


@dataclass(frozen=True)
class Identity:
    """One model as it is run.

    Attributes:
        weights: see ``weights_digest``.
        tokenizer: its fingerprint.
        precision: type of the activations; then by kind of matrix, how it is held.
        config: shape, rotary precision and conventions.
        device: type; written down, but another one's answers are the same but for rounding.
    """

    weights: str
    tokenizer: str
    precision: dict[str, Any]
    config: dict[str, Any]
    device: str

    @property
    def digest(self) -> str:
        """SHA-256, in hexadecimal, of all but the device."""
        facts = asdict(self)
        del facts["device"]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def identity_of(model: GLM, tokenizer: Tokenizer, weights: str) -> Identity:
    """The identity of a model that was loaded from the weights of that digest, quantised or not."""
    device = model.word_embeddings.weight.device.type
    precision = {"activations": str(model.dtype).removeprefix("torch."), "stored": _stored(model)}
    return Identity(weights, tokenizer.fingerprint, precision, model.config.model_dump(), device)


def _stored(model: GLM) -> dict[str, list[str]]:
    """Types and shapes of the tensors of each kind, ``attention.dense.weight`` for instance: packed integers and
    their scales show in them."""
    found: dict[str, set[str]] = {}
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        parts = name.split(".")
        kind = ".".join(parts[2:] if parts[0] == "layers" else parts)
        found.setdefault(kind, set()).add(f"{str(tensor.dtype).removeprefix('torch.')}{[*tensor.shape]}")
    return {kind: sorted(forms) for kind, forms in sorted(found.items())}


def weights_digest(path: str | Path, cache: Path, config: str | None = None) -> str:
    """SHA-256, in hexadecimal, of the contents of a model's files of weights; names of folders do not matter.

    Reading them all takes minutes for a large model. What was read once is remembered, for as long as a file's path,
    size and time of change stay the same.

    Args:
        path, config: as of ``load_model``.
        cache: folder of the memory.

    Raises:
        ModelError, ConfigError: as ``open_model``; or a file cannot be read.
        ResourceError: the memory cannot be written.
    """
    files = open_model(path, config, verify=False, to_inspect=True).files
    memory = cache / _DIGESTS
    known = _read(memory)
    found: dict[str, list[Any]] = {}

    def digest(file: Path) -> str:
        try:
            facts = file.stat()
            seen = known.get(str(file.resolve()), [])
            stamp = [facts.st_size, facts.st_mtime_ns]
            sha256 = seen[2] if seen[:2] == stamp else sha256_of_file(file)
        except OSError as error:
            raise ModelError(f"{file} cannot be read ({error.strerror}).", "Check the file.") from None
        found[str(file.resolve())] = [*stamp, sha256]
        return str(sha256)

    with ThreadPoolExecutor(_THREADS) as pool:
        digests = list(pool.map(digest, files))
    if any(known.get(file) != seen for file, seen in found.items()):
        write_whole(memory, json.dumps(known | found, indent=1) + "\n")
    parts = sorted(zip([file.name for file in files], digests, strict=True))
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _read(memory: Path) -> dict[str, list[Any]]:
    """What was remembered; nothing if that is damaged, since it can be found out again."""
    try:
        content = json.loads(memory.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(content, dict):
        return {}
    return {file: seen for file, seen in content.items() if isinstance(seen, list) and len(seen) == 3}
