"""How many records each prompt takes."""

from __future__ import annotations

from typing import Literal


def quotas(cap: int, scope: Literal["dataset", "prompt"], num_prompts: int) -> list[int]:
    """Most records each prompt of a dataset takes.

    With scope ``dataset`` the quotas add up to the cap and differ by one at most, as in T0
    (arXiv:2110.08207), which divides a dataset's cap by the number of its templates.
    """
    if scope == "prompt":
        return [cap] * num_prompts
    share, rest = divmod(cap, num_prompts)
    return [share + (number < rest) for number in range(num_prompts)]
