"""The mixture: exact shares, ordinals, ramps, and a past that nothing later changes."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glm130b.samples import Mixture, Phase
from glm130b.samples.mixture import single_phase, whole_shares

WEIGHT = st.just(0.0) | st.floats(0.001, 10)
WEIGHTS = st.lists(WEIGHT, min_size=1, max_size=6).filter(lambda weights: sum(weights) > 0.01)


def shares(*weights: float) -> np.ndarray:
    return np.array(weights, dtype=float) / sum(weights)


@st.composite
def phases(draw: st.DrawFn) -> list[Phase]:
    """A few phases whose boundaries fall anywhere, on ramps longer and shorter than a block of them."""
    size = draw(st.integers(1, 5))
    weights = st.lists(WEIGHT, min_size=size, max_size=size).filter(lambda weights: sum(weights) > 0.01)
    found = [Phase(0, 0, shares(*draw(weights)))]
    end = 1
    for _ in range(draw(st.integers(0, 3))):
        start, ramp = end + draw(st.integers(0, 700)), draw(st.integers(0, 400))
        found.append(Phase(start, ramp, shares(*draw(weights))))
        end = start + ramp + 1
    return found


def names(size: int) -> list[str]:
    return [f"s{number}" for number in range(size)]


@pytest.mark.slow
@given(phases(), st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_ordinals_count_up_for_each_source(phases: list[Phase], seed: int) -> None:
    """However the shares change, each source gives its samples 0, 1, 2, … once each, in order."""
    end = 2500
    mixture = Mixture(names(len(phases[0].shares)), phases, seed)
    given: dict[str, list[int]] = {name: [] for name in mixture.names}
    for index in range(end):
        name, ordinal = mixture.locate(index)
        given[name].append(ordinal)
    closed = Mixture(mixture.names, [*phases, Phase(end, 0, phases[-1].shares)], seed)
    firsts: dict[str, int] = {}
    for index in range(end, end + 3000):
        name, ordinal = closed.locate(index)
        firsts[name] = min(ordinal, firsts.get(name, ordinal))
    for name, ordinals in given.items():
        assert ordinals == list(range(len(ordinals)))
        assert firsts.get(name, len(ordinals)) == len(ordinals)


@given(phases(), st.integers(0, 1000), st.integers(0, 2000))
@settings(max_examples=20, deadline=None)
def test_given_counts_what_came_before(phases: list[Phase], seed: int, end: int) -> None:
    mixture = Mixture(names(len(phases[0].shares)), phases, seed)
    counted = Counter(mixture.locate(index)[0] for index in range(end))
    assert mixture.given(end) == {name: counted[name] for name in mixture.names}


@given(WEIGHTS, st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_shares_are_exact_in_the_long_run_and_close_everywhere(weights: list[float], seed: int) -> None:
    mixture = Mixture(names(len(weights)), single_phase(weights), seed)
    given = [np.zeros(len(weights))]
    for index in range(0, 100_000, 1000):
        sources, _ = mixture._block(0, index // 1000)
        given.append(given[-1] + np.bincount(sources, minlength=len(weights)))
        assert abs(given[-1] - (index + 1000) * shares(*weights)).max() < 1.5 + 1e-5 * index * len(weights)
    assert abs(given[-1] - 100_000 * shares(*weights)).max() <= len(weights)
    assert ((given[-1] > 0) == (shares(*weights) > 0)).all()
    assert mixture.locate(100_000)[1] == given[-1][mixture.names.index(mixture.locate(100_000)[0])]


@pytest.mark.slow
@given(phases(), st.integers(0, 50), st.integers(0, 2000))
@settings(max_examples=60, deadline=None)
def test_what_comes_later_changes_nothing_before(phases: list[Phase], seed: int, start: int) -> None:
    start += phases[-1].start + phases[-1].ramp + 1
    size = len(phases[0].shares)
    before = Mixture(names(size), phases, seed)
    widened = [Phase(phase.start, phase.ramp, np.append(phase.shares, 0.0)) for phase in phases]
    after = Mixture(names(size + 1), [*widened, Phase(start, 100, shares(*[1.0] * (size + 1)))], seed)
    for index in {0, 1, start // 2, start - 2, start - 1} & set(range(start)):
        assert before.locate(index) == after.locate(index)


def test_a_ramp_is_linear() -> None:
    mixture = Mixture(["old", "new"], [Phase(0, 0, shares(1, 0)), Phase(5000, 20_000, shares(0.2, 0.8))], 0)
    is_new = np.array([mixture.locate(index)[0] == "new" for index in range(35_000)])
    assert not is_new[:5000].any()
    for start in range(5000, 25_000, 1000):
        middle = 0.8 * (start + 500 - 5000) / 20_000
        assert is_new[start : start + 1000].mean() == pytest.approx(middle, abs=0.012)
        assert mixture.shares(start + 500)[1] == pytest.approx(middle)
    assert is_new[25_000:].mean() == pytest.approx(0.8, abs=0.0001)
    assert is_new[5000:25_000].mean() == pytest.approx(0.4, abs=0.005)


def test_random_access_is_quick_to_reach() -> None:
    mixture = Mixture(["a", "b"], [Phase(0, 0, shares(1, 1)), Phase(10**7, 10**6, shares(1, 3))], 3)
    far = 2**60 + 12_345
    name, ordinal = mixture.locate(far)
    share = 0.25 if name == "a" else 0.75
    assert ordinal == pytest.approx(far * share, rel=0.01)
    assert mixture.locate(far) == Mixture(["a", "b"], mixture._phases, 3).locate(far)


@given(WEIGHTS, st.integers(6, 10_000))
def test_whole_shares(weights: list[float], total: int) -> None:
    counts = whole_shares(shares(*weights), total)
    assert counts.sum() == total
    assert ((counts > 0) == (np.array(weights) > 0)).all()
