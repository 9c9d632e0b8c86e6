"""A model folder's weights and ``config.json``.

``model-00001-of-0000N.safetensors`` and, written last, the index with the checksums of all of it
(``model/index.py``). Weights are memory-mapped when read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from pydantic import ValidationError
from torch import Tensor

from glm130b.config import ModelConfig
from glm130b.errors import ModelError
from glm130b.files import Progress, read_json, write_json
from glm130b.model.device import spread
from glm130b.model.folder_tensors import FolderTensors
from glm130b.model.glm import GLM
from glm130b.model.index import write_index
from glm130b.model.scheme import Scheme, scheme_from_json, scheme_to_json
from glm130b.model.shard import ShardRecord, TensorSource, plan_shards, write_shard

_FORMAT_VERSION = 1
MAX_SHARD_BYTES = 4 * 2**30
_EMBEDDING = "word_embeddings.weight"


@dataclass(frozen=True)
class FolderInfo:
    """What ``config.json`` says."""

    model: ModelConfig
    scheme: Scheme | None
    """How the weights are quantised; None if they are not."""
    tokenizer: str | None
    """Fingerprint of the tokenizer whose ids the embedding's rows stand for; None if the folder has none."""


def write_tensors(
    folder: Path,
    source: TensorSource,
    config: ModelConfig,
    *,
    tokenizer: str | None,
    scheme: Scheme | None = None,
    max_shard_bytes: int = MAX_SHARD_BYTES,
    progress: Progress | None = None,
) -> None:
    """Write weights, ``config.json`` and, last, the index into an existing ``folder``; holds one tensor at a time.

    Args:
        tokenizer: its fingerprint, or None if the folder has none.
        scheme: how they are quantised.
        progress: remembers finished shards, which are not written again.
    """
    write_info(folder, FolderInfo(config, scheme, tokenizer))
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
    write_index(folder, records, sum(info.nbytes for info in source.infos.values()), {})


def write_info(folder: Path, info: FolderInfo) -> None:
    """Write ``config.json``."""
    write_json(
        folder / "config.json",
        {
            "model_type": "glm130b",
            "format_version": _FORMAT_VERSION,
            **info.model.model_dump(mode="json"),
            "tokenizer_fingerprint": info.tokenizer,
            "quantization": scheme_to_json(info.scheme),
        },
    )


def read_info(path: Path) -> FolderInfo:
    """Read ``config.json``.

    Raises:
        ModelError: missing, malformed, or of a later format.
    """
    content = read_json(path / "config.json", ModelError)
    try:
        version = content.pop("format_version")
        quantization = content.pop("quantization")
        tokenizer = content.pop("tokenizer_fingerprint")
        if content.pop("model_type") != "glm130b" or version != _FORMAT_VERSION:
            raise ModelError(
                f"{path} is not a glm130b model folder of format {_FORMAT_VERSION}.",
                "Convert it, or update glm130b.",
            )
        scheme = scheme_from_json(quantization, path)
        model = ModelConfig.model_validate(content)
        return FolderInfo(model, scheme, None if tokenizer is None else str(tokenizer))
    except (ValidationError, KeyError, AttributeError, TypeError, ValueError) as error:
        raise ModelError(
            f"{path / 'config.json'} does not describe a model ({str(error).splitlines()[0]}).",
            "Make or copy it again.",
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
        dtype: of what is not quantised; default as it comes, but on a CPU half precision becomes FP32. The embedding
            of a quantised model, a large part of it, stays there as it comes, and rows looked up become FP32.
        devices: the layers are spread over them.

    Raises:
        ModelError: a tensor is missing, superfluous or of the wrong shape; names it and ``origin``.
    """
    state: dict[str, Tensor] = {}
    wanted = model.state_dict()
    place = spread({name: tensor.nbytes for name, tensor in wanted.items()}, devices)
    quantized = any(tensor.dtype == torch.int8 for tensor in wanted.values())
    for name, tensor in checked_tensors(model, tensors, origin):
        if not name.endswith(".weight_scale") and tensor.is_floating_point():
            half_on_cpu = tensor.dtype in (torch.float16, torch.bfloat16) and devices[0].type == "cpu"
            if dtype is None and half_on_cpu and quantized and name == _EMBEDDING:
                model.activation_dtype = torch.float32
            else:
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
