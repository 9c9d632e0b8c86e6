"""From logits to the next token.

A token is drawn by the inverse of the cumulative distribution: of the tokens that the filters leave, in the
order of their ids, the one in whose interval of [0, 1) a uniform number ``u`` lies. One ``u`` a token, so that
the same logits and ``u`` give the same token, alone or in a batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from glm130b.errors import ConfigError, ModelError

EXCLUDED = -65504.0
"""Where the authors' code puts excluded logits."""

_STRETCH = 64
_LEAST_EXPONENT = -85.0
_WEIGHT_BITS = 30
"""Weights lie in [0, 1]: FP32 numbers whose bits, read as an integer, are below 2^30 and in the same order."""
_DIGIT_BITS = 3


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

    def uniforms(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """Numbers for so many tokens, FP64 ``[count]`` on the CPU; zeros, and nothing drawn, if greedy.

        Args:
            generator: default a new one from ``seed``.
        """
        if self.greedy:
            return torch.zeros(count, dtype=torch.float64)
        generator = generator or torch.Generator().manual_seed(self.seed)
        return torch.rand(count, generator=generator, dtype=torch.float64)


def filter_logits(logits: Tensor, *, top_k: int = 0, top_p: float = 0.0) -> Tensor:
    """What the filters mean: exclude all but the most likely, ``[V]`` to ``[V]``; excluded ones become -65504.

    Top-k keeps ties. Top-p applies to what is left and always keeps the token with which the sum first
    exceeds p. Written with a sort; ``draw`` does the same without one.
    """
    if 0 < top_k < logits.shape[-1]:
        smallest = torch.topk(logits, top_k).values[-1]
        logits = logits.masked_fill(logits < smallest, EXCLUDED)
    if 0 < top_p < 1:
        ordered, places = torch.sort(logits, descending=True, stable=True)
        before = torch.softmax(ordered, dim=-1).cumsum(dim=-1).roll(1)
        before[0] = 0.0
        logits = logits.scatter(0, places[before > top_p], EXCLUDED)
    return logits


def draw(logits: Tensor, u: Tensor, sampling: Sampling, banned: Tensor | None = None) -> Tensor:
    """The next token of each row, int64 ``[B]``, given its logits ``[B, V]`` of any float type.

    On a GPU all shapes follow from those given and nothing is read back, so that a CUDA graph can hold it. On a
    CPU what the filters drop is put aside as early as can be. Neither sorts the vocabulary.

    Args:
        u: numbers in [0, 1), ``[B]``; see ``Sampling.uniforms``.
        banned: ids never to be chosen, int64, on the device of the logits.

    Raises:
        ModelError: on a CPU, logits are not finite numbers.
    """
    values_BV = logits.float()
    if banned is not None:
        values_BV = values_BV.index_fill(-1, banned, -torch.inf)
    if values_BV.is_cpu and not values_BV.amax(dim=-1).isfinite().all():
        raise ModelError(
            "The model's logits are not finite numbers.", "Compute in a wider type: --dtype fp32, or bf16 on a GPU."
        )
    if sampling.greedy:
        return values_BV.max(dim=-1).indices
    top_k = sampling.top_k if 0 < sampling.top_k < logits.shape[-1] else None
    top_p = sampling.top_p if 0 < sampling.top_p < 1 else None
    if values_BV.is_cpu and (top_k or top_p):
        rows = zip(values_BV, u, strict=True)
        return torch.cat([_draw_on_cpu(row, number, sampling.temperature, top_k, top_p) for row, number in rows])
    weights_BV = _weights(values_BV, sampling.temperature, top_k)
    if top_p:
        target_B1 = _total(weights_BV) * top_p
        weights_BV = _nucleus(weights_BV, _smallest_kept(weights_BV, target_B1), target_B1)
    return _invert(weights_BV, u)


def _draw_on_cpu(values_V: Tensor, u: Tensor, temperature: float, top_k: int | None, top_p: float | None) -> Tensor:
    """``draw`` for one row, which drops what the filters do as early as can be."""
    ids = None
    if top_k:
        ids = _likeliest(values_V, top_k)
        values_V = values_V[ids]
    weights_V = _weights(values_V[None], temperature, top_k)[0]
    if top_p:
        smallest, target = _smallest_kept_on_cpu(weights_V, top_p)
        kept = torch.from_numpy(np.flatnonzero(weights_V.numpy() >= smallest))
        ids = kept if ids is None else ids[kept]
        edge, room = torch.tensor([[smallest]]), torch.tensor([[target]], dtype=torch.float64)
        weights_V = _nucleus(weights_V[None, kept], edge, room)[0]
    place = _invert(weights_V[None], u[None])
    return place if ids is None else ids[place]


def _likeliest(values_V: Tensor, count: int) -> Tensor:
    """Ids, ascending, of at least ``count`` tokens, none left out being as likely: all if there are too few.

    As many stretches of the vocabulary have a peak of at least the ``count``-th highest peak.
    """
    num_stretches = len(values_V) // _STRETCH
    if num_stretches <= count:
        return torch.arange(len(values_V))
    peaks = values_V[: num_stretches * _STRETCH].view(-1, _STRETCH).amax(dim=-1)
    lowest = float(peaks.topk(count).values[-1])
    return torch.from_numpy(np.flatnonzero(values_V.numpy() >= lowest))


def _weights(values_BV: Tensor, temperature: float, top_k: int | None) -> Tensor:
    """Probabilities times a constant of each row, the largest being 1, FP32; 0 where top-k excludes.

    What is below 1e-37 becomes 0 too: numbers that small slow the sums down and cannot change them.
    """
    exponents_BV = (values_BV - values_BV.amax(dim=-1, keepdim=True)).div_(temperature)
    weights_BV = F.threshold(exponents_BV, _LEAST_EXPONENT, -torch.inf, inplace=True).exp_()
    if top_k is None:
        return weights_BV
    return torch.where(values_BV >= values_BV.topk(top_k).values[:, -1:], weights_BV, 0)


def _total(weights_BV: Tensor) -> Tensor:
    return weights_BV.sum(dim=-1, keepdim=True, dtype=torch.float64)


def _smallest_kept(weights_BV: Tensor, target_B1: Tensor) -> Tensor:
    """The largest number such that all weights from there on exceed ``target`` together, FP32 ``[B, 1]``.

    Found digit by digit, the most significant first, each by comparing with all that it can be.
    """
    digits = torch.arange(1, 1 << _DIGIT_BITS, dtype=torch.int32, device=weights_BV.device)
    found_B1 = torch.zeros(target_B1.shape, dtype=torch.int32, device=weights_BV.device)
    for shift in range(_WEIGHT_BITS - _DIGIT_BITS, -1, -_DIGIT_BITS):
        tried_BT = (found_B1 + (digits << shift)).view(torch.float32)
        kept_BTV = torch.where(weights_BV[:, None] >= tried_BT[:, :, None], weights_BV[:, None], 0)
        fits_BT = kept_BTV.sum(dim=-1, dtype=torch.float64) > target_B1
        found_B1 = found_B1 + (fits_BT.sum(dim=-1, keepdim=True, dtype=torch.int32) << shift)
    return found_B1.view(torch.float32)


def _smallest_kept_on_cpu(weights_V: Tensor, top_p: float) -> tuple[float, float]:
    """The same for one row, by summing the weights with each digit; and the target, ``top_p`` of the whole."""
    found, above, target = 0, 0.0, None
    for shift in range(_WEIGHT_BITS - 10, -1, -10):
        digits_V = (weights_V.view(torch.int32) >> shift).bitwise_and_(1023)
        sums = torch.bincount(digits_V, weights_V.double(), minlength=1024)
        from_there_on = sums.flip(0).cumsum(0).flip(0) + above
        target = float(from_there_on[0]) * top_p if target is None else target
        digit = max(int((from_there_on > target).sum()) - 1, 0)
        found += digit << shift
        above = float(from_there_on[digit] - sums[digit])
        weights_V = weights_V[torch.from_numpy(np.flatnonzero(digits_V.numpy() == digit))]
    return float(torch.tensor(found, dtype=torch.int32).view(torch.float32)), target or 0.0


def _nucleus(weights_BV: Tensor, smallest_B1: Tensor, target_B1: Tensor) -> Tensor:
    """Of the weights, keep the largest, up to the one with which their sum first exceeds ``target``; ties by id."""
    larger_BV, ties_BV = weights_BV > smallest_B1, weights_BV == smallest_B1
    room_B1 = target_B1 - _total(torch.where(larger_BV, weights_BV, 0))
    earlier_BV = ties_BV.cumsum(dim=-1) - 1
    return torch.where(larger_BV | (ties_BV & (earlier_BV * smallest_B1.double() <= room_B1)), weights_BV, 0)


def _invert(weights_BV: Tensor, u_B: Tensor) -> Tensor:
    """The place in each row where the cumulative weight first exceeds u times the whole."""
    sums_BV = weights_BV.double().cumsum(dim=-1)
    wanted_B1 = u_B.to(sums_BV)[:, None] * sums_BV[:, -1:]
    return torch.searchsorted(sums_BV, wanted_B1, right=True)[:, 0]
