"""From logits to the next token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from glm130b.errors import ConfigError

EXCLUDED = -65504.0
"""Where the authors' code puts excluded logits."""


@dataclass(frozen=True)
class Sampling:
    """How to choose; the default is greedy.

    Attributes:
        temperature: 0 is greedy; 1 samples from the model's own distribution.
        top_k: keep only the k most likely; 0 keeps all.
        top_p: then keep only the most likely that together exceed p; 0 or 1 keeps all.
        seed: of the draws.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        warm = self.temperature == 0 or 1e-4 <= self.temperature < float("inf")
        if not warm or self.top_k < 0 or not 0 <= self.top_p <= 1 or not 0 <= self.seed < 2**63:
            raise ConfigError(
                f"Cannot sample with temperature {self.temperature}, top-k {self.top_k}, top-p {self.top_p}, "
                f"seed {self.seed}.",
                "Temperature is 0 or at least 0.0001, top-k is not negative, top-p lies between 0 and 1, "
                "the seed between 0 and 2^63.",
            )

    @property
    def greedy(self) -> bool:
        """Whether the most likely token is always taken."""
        return self.temperature == 0 or self.top_k == 1


def filter_logits(logits: Tensor, *, top_k: int = 0, top_p: float = 0.0) -> Tensor:
    """Exclude all but the most likely, ``[V]`` to ``[V]``; excluded ones become -65504.

    Top-k keeps ties. Top-p applies to what is left and always keeps the token with which the sum first
    exceeds p.
    """
    if 0 < top_k < logits.shape[-1]:
        smallest = torch.topk(logits, top_k).values[-1]
        logits = logits.masked_fill(logits < smallest, EXCLUDED)
    if 0 < top_p < 1:
        ordered, places = torch.sort(logits, descending=True)
        before = torch.softmax(ordered, dim=-1).cumsum(dim=-1).roll(1)
        before[0] = 0.0
        logits = logits.scatter(0, places[before > top_p], EXCLUDED)
    return logits


def choose(logits: Tensor, sampling: Sampling, generator: torch.Generator, banned: Sequence[int] = ()) -> int:
    """The next token, given the logits ``[V]`` of the last place, none of ``banned``."""
    logits = logits.float()
    if not sampling.greedy:
        logits = logits / sampling.temperature
    if banned:
        logits = logits.index_fill(0, torch.tensor(banned, device=logits.device), EXCLUDED)
    if sampling.greedy:
        return int(logits.argmax())
    logits = filter_logits(logits, top_k=sampling.top_k, top_p=sampling.top_p)
    weights = torch.softmax(logits, dim=-1).cpu()
    return int(torch.multinomial(weights, 1, generator=generator))
