"""A model folder's weights and ``config.json``.

``model-00001-of-0000N.safetensors`` and, written last, the index with the checksums of all of it
(``model/index.py``). Weights are memory-mapped when read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor

from glm130b.config import ModelConfig
from glm130b.errors import ModelError
from glm130b.files import Progress, read_json, write_json
from glm130b.model.device import spread
from glm130b.model.glm import GLM
from glm130b.model.index import read_index, write_index
from glm130b.model.shard import DTYPES, ShardRecord, TensorInfo, TensorSource, plan_shards, sha256_of, write_shard

_FORMAT_VERSION = 1
MAX_SHARD_BYTES = 4 * 2**30

Bits = Literal[8, 4]


@dataclass(frozen=True)
class FolderInfo:
    """What ``config.json`` says."""

    model: ModelConfig
    bits: Bits | None
    """Of the linear weights; None if they are not quantised."""
    tokenizer: str | None
    """Fingerprint of the tokenizer whose ids the embedding's rows stand for; None if the folder has none."""
    scale_shards: int = 1
    """Scales a row of the matrices that tensor parallelism cuts by columns: one for each rank they come from."""


def write_tensors(
    folder: Path,
    source: TensorSource,
    config: ModelConfig,
    *,
    tokenizer: str | None,
    bits: Bits | None = None,
    scale_shards: int = 1,
    max_shard_bytes: int = MAX_SHARD_BYTES,
    progress: Progress | None = None,
) -> None:
    """Write weights, ``config.json`` and, last, the index into an existing ``folder``; holds one tensor at a time.

    Args:
        tokenizer: its fingerprint, or None if the folder has none.
        bits, scale_shards: what ``FolderInfo`` says of them.
        progress: remembers finished shards, which are not written again.
    """
    quantization = {"bits": bits, "granularity": "row", "symmetric": True, "scale_shards": scale_shards}
    write_json(
        folder / "config.json",
        {
            "model_type": "glm130b",
            "format_version": _FORMAT_VERSION,
            **config.model_dump(mode="json"),
            "tokenizer_fingerprint": tokenizer,
            "quantization": None if bits is None else quantization,
        },
    )
    plan = plan_shards(source.infos, max_shard_bytes)
    records: dict[str, ShardRecord] = {}
    for number, names in enumerate(plan, start=1):
        file = f"model-{number:05d}-of-{len(plan):05d}.safetensors"
        if progress is not None and (done := progress.finished(file)) is not None:
            records[file] = ShardRecord(**done)
            continue
        records[file] = write_shard(folder / file, names, source)
        if progress is not None:
            progress.finish(file, asdict(records[file]))
    write_index(folder, records, sum(info.nbytes for info in source.infos.values()))


def read_info(path: Path) -> FolderInfo:
    """Read ``config.json``.

    Raises:
        ModelError: missing, malformed, or of a later format.
    """
    content = read_json(path / "config.json", ModelError)
    try:
        version = content.pop("format_version")
        quantization = content.pop("quantization") or {"bits": None}
        tokenizer = content.pop("tokenizer_fingerprint")
        bits, scale_shards = quantization["bits"], quantization.get("scale_shards", 1)
        if int(scale_shards) < 1:
            raise ValueError(f"{scale_shards} scales a row")
        if bits not in (None, 8, 4):
            raise ModelError(f"{path} is quantised to {bits} bits.", "This version reads 8 and 4.")
        if content.pop("model_type") != "glm130b" or version != _FORMAT_VERSION:
            raise ModelError(
                f"{path} is not a glm130b model folder of format {_FORMAT_VERSION}.",
                "Convert it, or update glm130b.",
            )
        model = ModelConfig.model_validate(content)
        return FolderInfo(model, bits, None if tokenizer is None else str(tokenizer), int(scale_shards))
    except (ValidationError, KeyError, AttributeError, TypeError, ValueError) as error:
        raise ModelError(
            f"{path / 'config.json'} does not describe a model ({str(error).splitlines()[0]}).",
            "Make or copy it again.",
        ) from None


class FolderTensors:
    """The tensors of a model folder as a source; each is memory-mapped for as long as it is used.

    Args:
        verify: compare each tensor, when it is first read, with the SHA-256 in the index.

    Raises:
        ModelError: no index (the folder is incomplete), or a shard that is missing, truncated or
            damaged, by name.
    """

    def __init__(self, path: Path, *, verify: bool = True) -> None:
        self.path, self.verify = path, verify
        self.index = read_index(path)
        self._verified: set[str] = set()
        found: dict[str, TensorInfo] = {}
        for file in dict.fromkeys(self.index.files.values()):
            with self._open(file) as shard:
                for name in shard.keys():  # noqa: SIM118
                    piece = shard.get_slice(name)
                    found[name] = TensorInfo(tuple(piece.get_shape()), DTYPES[piece.get_dtype()])
        if missing := self.index.files.keys() - found.keys():
            raise ModelError(f"{path} lacks {min(missing)}.", "Make or copy the folder again.")
        self.infos = {name: found[name] for name in self.index.files}

    def read(self, name: str) -> Tensor:
        """One tensor, memory-mapped.

        Raises:
            ModelError: its bytes are not those that were written.
        """
        file = self.index.files[name]
        with self._open(file) as shard:
            tensor: Tensor = shard.get_tensor(name)
        if self.verify and name in self.index.digests and name not in self._verified:
            if sha256_of(tensor) != self.index.digests[name]:
                raise ModelError(
                    f"{self.path / file} is damaged: the bytes of {name} are not those that were written.",
                    "Copy it again, or use an earlier checkpoint.",
                )
            self._verified.add(name)
        return tensor

    @contextmanager
    def _open(self, file: str) -> Iterator[Any]:
        path = self.path / file
        try:
            size = self.index.sizes.get(file)
            if size is not None and path.stat().st_size != size:
                raise SafetensorError(f"{path.stat().st_size} bytes instead of {size}")
            with safe_open(path, framework="pt") as shard:
                yield shard
        except FileNotFoundError:
            raise ModelError(f"{path} is missing.", "Make or copy the folder again.") from None
        except (SafetensorError, OSError, KeyError) as error:
            raise ModelError(
                f"{path} is truncated or damaged ({error}).", "Copy it again, or use an earlier checkpoint."
            ) from None


def read_tensors(path: Path, *, verify: bool = True) -> Iterator[tuple[str, Tensor]]:
    """The folder's tensors by name, in the order they were written; see ``FolderTensors``."""
    source = FolderTensors(path, verify=verify)
    return ((name, source.read(name)) for name in source.infos)


def assign_tensors(
    model: GLM,
    tensors: Iterable[tuple[str, Tensor]],
    origin: str,
    *,
    dtype: torch.dtype | None = None,
    devices: Sequence[torch.device] = (torch.device("cpu"),),
) -> None:
    """Make ``tensors`` the parameters and buffers of a model built on the meta device.

    Args:
        dtype: of what is not quantised; default as it comes, but FP32 for half precision on a CPU.
        devices: the layers are spread over them.

    Raises:
        ModelError: a tensor is missing, superfluous or of the wrong shape; names it and ``origin``.
    """
    state: dict[str, Tensor] = {}
    place = spread({name: tensor.nbytes for name, tensor in model.state_dict().items()}, devices)
    for name, tensor in checked_tensors(model, tensors, origin):
        if not name.endswith(".weight_scale") and tensor.is_floating_point():
            half_on_cpu = tensor.dtype in (torch.float16, torch.bfloat16) and devices[0].type == "cpu"
            tensor = tensor.to(dtype or (torch.float32 if half_on_cpu else tensor.dtype))
        state[name] = tensor.to(place[name])
    model.load_state_dict(state, assign=True)


def checked_tensors(model: GLM, tensors: Iterable[tuple[str, Tensor]], origin: str) -> Iterator[tuple[str, Tensor]]:
    """Pass on ``tensors`` that are just the parameters and buffers of ``model``.

    Raises:
        ModelError: one is missing, superfluous or of the wrong shape; names it and ``origin``.
    """
    wanted = {name: tensor.shape for name, tensor in model.state_dict().items()}
    for name, tensor in tensors:
        shape = wanted.pop(name, None)
        if shape is None:
            raise ModelError(f"{origin} holds {name}, which the model does not have.", "Check the configuration.")
        if tensor.shape != shape:
            raise ModelError(
                f"{origin}: {name} is {list(tensor.shape)}, the model wants {list(shape)}.", "Check the configuration."
            )
        yield name, tensor
    if wanted:
        raise ModelError(
            f"{origin} lacks {next(iter(wanted))} ({len(wanted)} tensors in all).", "Make or copy it again."
        )


def checkpoints(run: Path) -> list[Path]:
    """The checkpoints of a run folder, oldest first: model folders ``checkpoints/step-<number>``."""
    found = [path for path in (run / "checkpoints").glob("step-*") if path.name.removeprefix("step-").isdecimal()]
    return sorted(found, key=lambda path: int(path.name.removeprefix("step-")))
