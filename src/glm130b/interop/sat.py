"""Official GLM-130B checkpoints (SwissArmyTransformer layout), one tensor-parallel rank."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from torch import Tensor

from glm130b.errors import ModelError

_PREFIX = "transformer."


def read_sat(path: Path) -> dict[str, Tensor]:
    """Read ``<path>/<latest>/mp_rank_00_model_states.pt`` into tensors under this project's names.

    Only tensors are ever unpickled (``weights_only=True``). Rotary frequencies are dropped: they follow
    from the configuration.

    Raises:
        ModelError: no such checkpoint, more than one rank, or a file that is not a plain state dict.
    """
    latest = path / "latest"
    try:
        iteration = latest.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        raise ModelError(f"{latest} is missing or unreadable.", "Give the folder that holds `latest`.") from None
    ranks = sorted((path / iteration).glob("mp_rank_*_model_states.pt"))
    if len(ranks) != 1:
        raise ModelError(
            f"{path / iteration} holds {len(ranks)} rank files; this version reads checkpoints of exactly one.",
            "Convert the checkpoint to tensor-parallel degree 1 first.",
        )
    try:
        content = torch.load(ranks[0], map_location="cpu", weights_only=True, mmap=True)
        module = content["module"]
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, TypeError, OSError) as error:
        raise ModelError(
            f"{ranks[0]} is not a checkpoint of tensors ({str(error).splitlines()[0]}).", "Copy it again."
        ) from None
    return {
        name.removeprefix(_PREFIX): tensor
        for name, tensor in module.items()
        if isinstance(tensor, Tensor) and not name.endswith("inv_freq")
    }
