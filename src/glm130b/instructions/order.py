"""Which records a prompt takes, and how many: pure functions of seed and numbers."""

from __future__ import annotations

import hashlib
from typing import Literal

_ROUNDS = 4


def permute(index: int, size: int, seed: str) -> int:
    """Image of ``index`` under the permutation of ``0 … size - 1`` that ``seed`` names.

    A Feistel network on the next even number of bits, applied until the result is below ``size``; no list
    is held.
    """
    half = max(1, ((size - 1).bit_length() + 1) // 2)
    while True:
        left, right = index >> half, index & ((1 << half) - 1)
        for turn in range(_ROUNDS):
            digest = hashlib.blake2b(f"{seed}/{turn}/{right}".encode(), digest_size=8).digest()
            left, right = right, left ^ (int.from_bytes(digest, "little") & ((1 << half) - 1))
        index = (left << half) | right
        if index < size:
            return index


def quotas(cap: int, scope: Literal["dataset", "prompt"], num_prompts: int) -> list[int]:
    """Most records each prompt of a dataset takes.

    With scope ``dataset`` the quotas add up to the cap and differ by one at most, as in T0
    (arXiv:2110.08207), which divides a dataset's cap by the number of its templates.
    """
    if scope == "prompt":
        return [cap] * num_prompts
    share, rest = divmod(cap, num_prompts)
    return [share + (number < rest) for number in range(num_prompts)]
