"""Resampled clusters against loops that say what is meant, SciPy's bootstrap, and the true value."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glm130b.evaluation.items import Unit
from glm130b.evaluation.metrics import Floats, ratio
from glm130b.evaluation.statistics import ClusterSums, bootstrap, flip_test, mcnemar


def f1(sums: Floats) -> Floats:
    """Of true positives, false positives and false negatives."""
    with np.errstate(invalid="ignore"):
        return np.asarray(2 * sums[..., 0] / (2 * sums[..., 0] + sums[..., 1] + sums[..., 2]))


def perplexity(sums: Floats) -> Floats:
    return np.asarray(np.exp(ratio(sums)))


def slow_f1(units: Sequence[Unit], macro: bool) -> float:
    """Means over the groups in which it is defined."""
    groups: dict[str, list[Unit]] = defaultdict(list)
    for unit in units:
        groups[unit.group if macro else ""].append(unit)
    found = []
    for members in groups.values():
        right, extra, missed = (math.fsum(unit.parts[n] for unit in members) for n in range(3))
        if right + extra + missed > 0:
            found.append(2 * right / (2 * right + extra + missed))
    return math.fsum(found) / len(found) if found else math.nan


UNITS = st.lists(
    st.tuples(st.integers(0, 6), st.sampled_from("xyz"), st.tuples(*[st.integers(0, 2)] * 3)), min_size=1, max_size=20
).map(lambda rows: [Unit(str(n), str(c), g, tuple(map(float, parts))) for n, (c, g, parts) in enumerate(rows)])


@given(UNITS, st.booleans(), st.data())
def test_weights_repeat_clusters(units: list[Unit], macro: bool, data: st.DataObject) -> None:
    sums = ClusterSums(units, f1, macro=macro)
    names = list(dict.fromkeys(unit.cluster for unit in units))
    weights = data.draw(st.lists(st.integers(0, 3), min_size=len(names), max_size=len(names)))
    repeated = [
        unit for name, times in zip(names, weights, strict=True) for unit in units * times if unit.cluster == name
    ]
    found = sums.values(np.array([weights, [1] * len(names)], dtype=np.float64))
    assert found == pytest.approx([slow_f1(repeated, macro), slow_f1(units, macro)], nan_ok=True)


@given(UNITS, st.booleans())
def test_each_cluster_left_out(units: list[Unit], macro: bool) -> None:
    names = list(dict.fromkeys(unit.cluster for unit in units))
    if math.isnan(ClusterSums(units, f1, macro=macro).point):
        return
    expected = [slow_f1([unit for unit in units if unit.cluster != name], macro) for name in names]
    assert ClusterSums(units, f1, macro=macro).without_each() == pytest.approx(expected, nan_ok=True)


def skewed(count: int, seed: int = 0, size: int = 1) -> list[Unit]:
    draws = np.random.default_rng(seed)
    values = draws.exponential(size=count)
    return [Unit(f"{c}/{n}", str(c), "", (float(values[c]), 1.0)) for c in range(count) for n in range(size)]


def test_bca_of_a_skewed_mean() -> None:
    """SciPy's is without the widening for few clusters, here of a percent."""
    units = skewed(150)
    found = bootstrap(ClusterSums(units, ratio), replicates=20_000)
    assert found.method == "cluster bootstrap (BCa)"
    assert (found.low, found.high, found.error) == pytest.approx((0.9502, 1.2915, 0.0853), abs=0.005)
    stats = pytest.importorskip("scipy.stats")
    values = [unit.parts[0] for unit in units]
    expected = stats.bootstrap((values,), np.mean, n_resamples=20_000, method="BCa", random_state=1)
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval), abs=0.006)
    assert found.error == pytest.approx(expected.standard_error, rel=0.03)


def test_repeated_units_of_a_cluster_add_nothing() -> None:
    once, often = (bootstrap(ClusterSums(skewed(40, size=size), ratio), seed=3) for size in (1, 5))
    assert (once.low, once.high, once.error) == pytest.approx((often.low, often.high, often.error))


@pytest.mark.parametrize("clusters", [6, 15, 60])
def test_how_often_the_perplexity_is_held(clusters: int) -> None:
    """Documents of 1 to 9 tokens whose mean losses scatter; with few of them by Student's t."""
    held = 0
    for seed in range(300):
        draws = np.random.default_rng(seed)
        lengths, losses = draws.integers(1, 10, clusters), 2 + 0.4 * draws.standard_normal(clusters)
        units = [Unit(str(n), str(n), "", (float(lengths[n] * losses[n]), float(lengths[n]))) for n in range(clusters)]
        found = bootstrap(ClusterSums(units, perplexity), replicates=400, seed=seed)
        held += found.low <= math.exp(2) <= found.high
    assert 0.9 < held / 300 < 0.985


def test_groups_are_not_drawn_away() -> None:
    """Units of a group are alike, so the mean over groups does not vary when they are drawn within them."""
    units = [Unit(str(n), str(n), g, (float(g), 1.0)) for n, g in enumerate(["0"] * 30 + ["1"] * 10)]
    assert ClusterSums(units, ratio, macro=True).point == 0.5
    assert bootstrap(ClusterSums(units, ratio, macro=True)).method == "none"
    assert bootstrap(ClusterSums(units, ratio)).error == pytest.approx(math.sqrt(0.25 * 0.75 / 40), rel=0.05)


def test_a_group_of_one_cluster_is_not_certain() -> None:
    units = skewed(30)
    units = [Unit(u.id, u.cluster, "only" if n == 0 else "rest", u.parts) for n, u in enumerate(units)]
    sums = ClusterSums(units, ratio, macro=True)
    assert set(sums.strata) == {0}
    assert bootstrap(sums).low < sums.point < bootstrap(sums).high


def test_what_is_too_little() -> None:
    for units in (skewed(1), [Unit(str(n), str(n), "", (0.5, 1.0)) for n in range(20)]):
        found = bootstrap(ClusterSums(units, ratio))
        assert (found.method, math.isnan(found.low), math.isnan(found.high)) == ("none", True, True)
    undefined = [Unit(str(n), str(n), "", (1.0, 0.0)) for n in range(20)]
    assert math.isnan(bootstrap(ClusterSums(undefined, ratio)).error)


def test_the_same_seed_gives_the_same_interval() -> None:
    sums = ClusterSums(skewed(50), ratio)
    assert bootstrap(sums, seed=7) == bootstrap(sums, seed=7) != bootstrap(sums, seed=8)


def test_replicates_do_not_depend_on_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    sums = ClusterSums(skewed(50), ratio)
    whole = bootstrap(sums, replicates=500)
    monkeypatch.setattr("glm130b.evaluation.statistics.resampling._BLOCK", 333)
    assert bootstrap(sums, replicates=500) == whole


PAIRS = st.lists(st.tuples(st.integers(0, 8), *[st.sampled_from([0.0, 1.0])] * 2), min_size=1, max_size=25)


@given(PAIRS)
def test_all_flips_of_few_clusters(rows: list[tuple[int, float, float]]) -> None:
    first, second = (
        [Unit(str(n), str(row[0]), "", (row[place], 1.0)) for n, row in enumerate(rows)] for place in (1, 2)
    )
    differences = defaultdict(float)
    for cluster, one, other in rows:
        differences[cluster] += other - one
    observed = abs(sum(differences.values()))
    signs = itertools.product((-1, 1), repeat=len(differences))
    totals = [abs(sum(s * d for s, d in zip(sign, differences.values(), strict=True))) for sign in signs]
    expected = sum(total >= observed - 1e-9 for total in totals) / len(totals)
    assert flip_test(ClusterSums(first, ratio), ClusterSums(second, ratio)) == pytest.approx(expected)


@pytest.mark.parametrize(("only_first", "only_second"), [(0, 0), (0, 6), (2, 9), (3, 3), (12, 0), (30, 14)])
def test_of_independent_items_it_is_mcnemars(only_first: int, only_second: int) -> None:
    outcomes = [(1.0, 0.0)] * only_first + [(0.0, 1.0)] * only_second + [(1.0, 1.0)] * 20
    first, second = (
        ClusterSums([Unit(str(n), str(n), "", (pair[k], 1.0)) for n, pair in enumerate(outcomes)], ratio)
        for k in (0, 1)
    )
    assert flip_test(first, second) == pytest.approx(mcnemar(only_first, only_second), abs=0.006)


def test_flips_err_as_rarely_as_they_say() -> None:
    false = 0
    for seed in range(300):
        draws = np.random.default_rng(seed)
        first, second = (
            ClusterSums([Unit(str(n), str(n // 3), "", (float(v), 1.0)) for n, v in enumerate(values)], perplexity)
            for values in draws.exponential(size=(2, 60))
        )
        false += flip_test(first, second, replicates=300, seed=seed) < 0.05
    assert 0.02 < false / 300 < 0.085


def test_an_undefined_metric_has_no_test() -> None:
    undefined = ClusterSums([Unit("0", "0", "", (1.0, 0.0))], ratio)
    assert math.isnan(flip_test(undefined, undefined))
