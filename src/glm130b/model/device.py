"""Which device to compute on."""

from __future__ import annotations

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
