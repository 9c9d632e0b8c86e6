"""Which devices to compute on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from glm130b.errors import ResourceError


def checked_device(device: torch.device | str) -> torch.device:
    """``device`` as torch's, ``auto`` being a GPU where there is one.

    Raises:
        ResourceError: not a device this machine has.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
        torch.empty(1, device=found).item()
    except (RuntimeError, AssertionError):
        there = ", ".join(["cpu", *(f"cuda:{n}" for n in range(torch.cuda.device_count()))])
        raise ResourceError(f"There is no device {device!s} here.", f"There is {there}.") from None
    return found


def checked_devices(devices: torch.device | str) -> list[torch.device]:
    """One device or several: names with commas between, or ``gpus`` for every GPU of the machine.

    Raises:
        ResourceError: not devices this machine has, or one of them twice.
    """
    if devices == "gpus":
        if not (count := torch.cuda.device_count()):
            raise ResourceError("There are no GPUs here.", "Choose cpu.")
        return [torch.device("cuda", n) for n in range(count)]
    if isinstance(devices, torch.device):
        return [checked_device(devices)]
    found = [checked_device(name.strip()) for name in devices.split(",")]
    if len(set(found)) < len(found):
        raise ResourceError(f"{devices} names a device twice.", "Name each once.")
    return found


def spread(num_bytes: Mapping[str, int], devices: Sequence[torch.device]) -> dict[str, torch.device]:
    """Give each tensor of a GLM its device: runs of whole layers, of about as many bytes each.

    Embedding and final norm are with the first layers, because the last step needs the embedding again.

    Args:
        num_bytes: of each tensor, by name.
    """
    ends = sum(size for name, size in num_bytes.items() if not name.startswith("layers."))
    layers: dict[int, int] = {}
    for name, size in num_bytes.items():
        if name.startswith("layers."):
            layer = int(name.split(".")[1])
            layers[layer] = layers.get(layer, 0) + size
    share = (ends + sum(layers.values())) / len(devices)
    place: dict[int, torch.device] = {}
    filled = float(ends)
    for layer, size in sorted(layers.items()):
        # A layer goes where its middle falls.
        place[layer] = devices[min(int((filled + size / 2) / share), len(devices) - 1)]
        filled += size
    return {name: place[int(name.split(".")[1])] if name.startswith("layers.") else devices[0] for name in num_bytes}
