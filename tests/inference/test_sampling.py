"""Draws without sorting, against the filters written with a sort and the distribution written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glm130b.errors import ModelError
from glm130b.inference import Sampling, draw, filter_logits
from glm130b.inference import sampling as module
from glm130b.inference.sampling import EXCLUDED

SETTINGS = settings(max_examples=150, deadline=None)

TEMPERATURES = st.sampled_from([0.3, 0.7, 1.0, 1.5, 30.0])


@st.composite
def rows(draw_: st.DrawFn, largest: int = 300) -> torch.Tensor:
    """Logits of one row, on a coarse grid so that many are equal, some very small."""
    size = draw_(st.integers(2, largest))
    seed = draw_(st.integers(0, 2**32 - 1))
    grid = draw_(st.sampled_from([0.5, 0.25, 2.0, 1e-3]))
    spread = draw_(st.sampled_from([0.5, 2.0, 10.0, 100.0]))
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(size, generator=generator) * spread / grid).round() * grid


def distribution(logits: torch.Tensor, sampling: Sampling, banned: list[int]) -> np.ndarray:
    """Of each token, in FP64, by the filters that sort."""
    scaled = logits.double() / sampling.temperature
    scaled[banned] = EXCLUDED
    kept = filter_logits(scaled, top_k=sampling.top_k, top_p=sampling.top_p)
    return torch.softmax(kept.masked_fill(kept == EXCLUDED, -torch.inf), dim=-1).numpy()


def margin(logits: torch.Tensor, sampling: Sampling) -> float:
    """How far top-p is from cutting one token more or less, as a share of the whole."""
    if not 0 < sampling.top_p < 1:
        return 1.0
    kept = filter_logits(logits.double() / sampling.temperature, top_k=sampling.top_k)
    sums = torch.softmax(kept, dim=-1).sort(descending=True).values.cumsum(-1)
    return float((sums - sampling.top_p).abs().min())


def on_any_device(logits: torch.Tensor, u: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """The part of ``draw`` that GPUs run, run here."""
    top_k = sampling.top_k if 0 < sampling.top_k < logits.shape[-1] else None
    weights = module._weights(logits, sampling.temperature, top_k)
    if 0 < sampling.top_p < 1:
        target = module._total(weights) * sampling.top_p
        weights = module._nucleus(weights, module._smallest_kept(weights, target), target)
    return module._invert(weights, u)


@given(rows(), TEMPERATURES, st.integers(0, 40), st.sampled_from([0.0, 0.05, 0.3, 0.5, 0.9, 0.999, 1.0]))
@SETTINGS
def test_each_token_has_the_interval_of_its_probability(
    logits: torch.Tensor, temperature: float, top_k: int, top_p: float
) -> None:
    """In the order of ids; at both ends of every interval and between, by both ways of computing it."""
    sampling = Sampling(temperature, 0 if top_k == 1 else top_k, top_p)
    if margin(logits, sampling) < 1e-5:
        return
    expected = distribution(logits, sampling, [])
    sums = expected.cumsum()
    tokens = np.flatnonzero(expected > 1e-5)
    starts, ends = sums[tokens] - expected[tokens], sums[tokens]
    u = torch.from_numpy(np.concatenate([starts + 2e-6, (starts + ends) / 2, ends - 2e-6]))
    wanted = np.tile(tokens, 3)
    many = logits.expand(len(u), -1)
    assert draw(many, u, sampling).tolist() == wanted.tolist()
    assert on_any_device(many, u, sampling).tolist() == wanted.tolist()


@given(rows(), TEMPERATURES, st.integers(0, 40), st.sampled_from([0.0, 0.3, 0.9]), st.data())
@SETTINGS
def test_only_what_the_filters_leave_is_drawn(
    logits: torch.Tensor, temperature: float, top_k: int, top_p: float, data: st.DataObject
) -> None:
    banned = data.draw(st.lists(st.integers(0, len(logits) - 1), max_size=len(logits) // 2, unique=True))
    sampling = Sampling(temperature, top_k, top_p)
    allowed = logits.clone()
    allowed[banned] = EXCLUDED * temperature
    if sampling.greedy or margin(allowed, sampling) < 1e-5:
        return
    u = torch.linspace(0, 1, 50, dtype=torch.float64).clamp(max=1 - 2**-53)
    before = logits.clone()
    found = draw(logits.expand(len(u), -1), u, sampling, torch.tensor(banned) if banned else None)
    assert (distribution(logits, sampling, banned)[found.numpy()] > 0).all()
    assert torch.equal(logits, before)


@pytest.mark.parametrize(
    "sampling",
    [Sampling(0.9), Sampling(1.2, top_k=12), Sampling(0.8, top_p=0.7), Sampling(1.0, top_k=30, top_p=0.8)],
)
def test_frequencies_over_a_grid_are_the_probabilities(sampling: Sampling) -> None:
    logits = torch.randn(200, generator=torch.Generator().manual_seed(4)) * 2
    u = (torch.arange(5_000, dtype=torch.float64) + 0.5) / 5_000
    found = np.bincount(on_any_device(logits.expand(5_000, -1), u, sampling).numpy(), minlength=200)
    assert np.abs(found / 5_000 - distribution(logits, sampling, [])).max() < 1.1 / 5_000
    some = slice(None, None, 10)
    few = np.bincount(draw(logits.expand(500, -1), u[some], sampling).numpy(), minlength=200)
    assert np.abs(few / 500 - distribution(logits, sampling, [])).max() < 1.1 / 500


@pytest.mark.parametrize("spread", [0.0, 1.0, 6.0])
@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(0.8),
        Sampling(0.8, top_k=40),
        Sampling(0.8, top_k=3000),
        Sampling(0.8, top_p=0.9),
        Sampling(1.1, top_k=200, top_p=0.95),
    ],
)
def test_both_ways_agree_on_a_large_vocabulary(sampling: Sampling, spread: float) -> None:
    """Peaked, flat, and all the same; of a size that no stretch divides, in half precision."""
    logits = (torch.randn(3, 50_017, generator=torch.Generator().manual_seed(5)) * spread).half()
    u = torch.tensor([0.0, 0.37, 1 - 2**-53], dtype=torch.float64)
    found = draw(logits, u, sampling)
    assert found.tolist() == on_any_device(logits.float(), u, sampling).tolist()
    for row, number, token in zip(logits, u, found, strict=True):
        assert distribution(row.float(), sampling, [])[token] > 0
        assert draw(row[None], number[None], sampling).tolist() == [int(token)]


def test_the_ends_of_the_unit_interval() -> None:
    logits = torch.tensor([[-200.0, 0.0, 1.0, -200.0]])
    for u, token in ((0.0, 1), (1 - 2**-53, 2)):
        assert draw(logits, torch.tensor([u], dtype=torch.float64), Sampling(1.0)).tolist() == [token]
    many = torch.randn(2000, 7, generator=torch.Generator().manual_seed(6))
    last = torch.full((2000,), 1 - 2**-53, dtype=torch.float64)
    assert (draw(many, last, Sampling(1.0)) == 6).all()


def test_ties_at_the_edge_of_top_p_go_to_low_ids() -> None:
    logits = torch.zeros(1, 8)
    u = (torch.arange(600, dtype=torch.float64) + 0.5) / 600
    for way in (draw, on_any_device):
        found = way(logits.expand(600, -1), u, Sampling(1.0, top_p=0.3)).bincount(minlength=8)
        assert found.tolist() == [200, 200, 200, 0, 0, 0, 0, 0]
        found = way(logits.expand(600, -1), u, Sampling(1.0, top_p=0.25)).bincount(minlength=8)  # 2 are not more
        assert found.tolist() == [200, 200, 200, 0, 0, 0, 0, 0]


def test_greedy_takes_the_first_of_the_best() -> None:
    logits = torch.tensor([[0.0, 3.0, 3.0, 1.0], [5.0, 3.0, 2.0, 5.0]])
    zeros = torch.zeros(2, dtype=torch.float64)
    for sampling in (Sampling(), Sampling(2.0, top_k=1)):
        assert draw(logits, zeros, sampling).tolist() == [1, 0]
        assert draw(logits, zeros, sampling, torch.tensor([0, 1])).tolist() == [2, 3]


def test_uniform_numbers() -> None:
    """Greedy answers draw none; more tokens do not change the first."""
    generator = torch.Generator().manual_seed(3)
    assert Sampling().uniforms(5, generator).tolist() == [0] * 5
    hot = Sampling(1.0, seed=3)
    long = hot.uniforms(300)
    assert torch.equal(hot.uniforms(20, generator), long[:20])
    assert torch.equal(hot.uniforms(280, generator), long[20:])
    assert long.dtype == torch.float64
    assert 0 <= long.min() < 0.05 < 0.95 < long.max() < 1


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(0.9), Sampling(0.8, top_k=7), Sampling(1.0, 20, 0.8)])
def test_a_graph_can_hold_it(sampling: Sampling) -> None:
    """On tensors without values nothing can be read back, and no shape can depend on one."""
    logits, u = torch.empty(3, 50, device="meta"), torch.empty(3, device="meta", dtype=torch.float64)
    found = draw(logits, u, sampling, torch.empty(4, device="meta", dtype=torch.int64))
    assert (found.shape, found.dtype, found.device.type) == ((3,), torch.int64, "meta")


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_logits_that_are_no_numbers_are_refused(value: float) -> None:
    logits = torch.zeros(2, 9)
    logits[1, 3] = value
    for sampling in (Sampling(), Sampling(1.0), Sampling(1.0, top_k=3), Sampling(1.0, top_p=0.5)):
        with pytest.raises(ModelError, match="not finite numbers"):
            draw(logits, torch.zeros(2, dtype=torch.float64), sampling)
