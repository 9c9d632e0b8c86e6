"""Two systems on the same units: which test, what it says, and when it refuses."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from glm130b.errors import DataError
from glm130b.evaluation.compare import compare, compare_suite, tied_with_best
from glm130b.evaluation.items import Unit
from glm130b.evaluation.metrics import METRICS, Metric, ratio
from glm130b.evaluation.statistics import effect_paired, mcnemar, paired_difference

ACCURACY = METRICS["accuracy"]
LOSS = Metric("loss", "loss", lambda _: [], ratio, better="lower", percent=False)
BIAS = Metric("bias", "bias", lambda _: [], ratio, better="middle", ideal=0.5)


def answers(right: Sequence[bool], per_cluster: int = 1) -> list[Unit]:
    return [Unit(str(n), str(n // per_cluster), "", (float(one), 1.0)) for n, one in enumerate(right)]


def numbers(values: Sequence[float]) -> list[Unit]:
    return [Unit(str(n), str(n), "", (float(value), 1.0)) for n, value in enumerate(values)]


def table(both: int, only_first: int, only_second: int, neither: int) -> tuple[list[Unit], list[Unit]]:
    cells = (both, only_first, only_second, neither)
    first, second = (
        [right for right, n in zip(row, cells, strict=True) for _ in range(n)] for row in ((1, 1, 0, 0), (1, 0, 1, 0))
    )
    return answers(first), answers(second)


def test_independent_answers_are_compared_by_mcnemar() -> None:
    found = compare(*table(500, 20, 45, 435), ACCURACY)
    assert (found.first, found.second) == (0.52, 0.545)
    assert found.difference == pytest.approx(0.025)
    assert (found.first_better, found.second_better) == (20, 45)
    assert (found.p_value, found.test) == (mcnemar(20, 45), "McNemar, exact")
    assert (found.low, found.high) == paired_difference(20, 45, 1000)
    assert found.minimal_effect == effect_paired(65, 1000)
    assert found.verdict() == "B is better by 2.5 points (0.9 to 4.1)."
    assert (
        compare(*table(500, 45, 20, 435), ACCURACY).verdict("old", "new") == "old is better by 2.5 points (0.9 to 4.1)."
    )


def test_no_difference_says_what_would_have_been_found() -> None:
    found = compare(*table(500, 20, 24, 456), ACCURACY)
    assert found.p_value > 0.5
    assert (
        found.verdict() == f"No difference was found; one of {100 * found.minimal_effect:.1f} points would have been."
    )
    assert 1.5 < 100 * found.minimal_effect < 2.5
    alike = compare(*table(5, 0, 0, 5), ACCURACY)
    assert (alike.difference, alike.p_value) == (0, 1)
    assert alike.verdict() == "A and B are alike on every item."
    assert alike.low < 0 < alike.high


def test_adjusted_p_values_change_the_verdict() -> None:
    found = compare(*table(500, 20, 45, 435), ACCURACY)
    assert found.verdict(p_value=0.2).startswith("No difference was found")


def test_units_are_matched_by_id() -> None:
    first, second = table(5, 9, 2, 4)
    assert compare(first, second[::-1], ACCURACY) == compare(first, second, ACCURACY)


def test_other_items_are_refused() -> None:
    first, second = table(5, 1, 2, 4)
    with pytest.raises(DataError, match="3 of 12 are missing from the second result, 0 of 9 from the first"):
        compare(first, second[:-3], ACCURACY)
    with pytest.raises(DataError, match="there are none"):
        compare([], [], ACCURACY)
    with pytest.raises(DataError, match="an item occurs twice"):
        compare([*first, first[0]], second, ACCURACY)


def test_clusters_count_once() -> None:
    """Eight passages of ten questions: the second answers three passages that the first does not."""
    first = answers([False] * 30 + [True] * 50, per_cluster=10)
    second = answers([True] * 80, per_cluster=10)
    found = compare(first, second, ACCURACY)
    assert (found.test, found.clusters, found.second_better) == ("flipped clusters", 8, 30)
    assert found.p_value == 0.25
    assert mcnemar(0, 30) < 1e-8
    alike = compare(first, first, ACCURACY)
    assert (alike.p_value, alike.low < 0 < alike.high) == (1, True)
    assert alike.minimal_effect > 0.5


def test_losses_are_bootstrapped_in_pairs() -> None:
    draws = np.random.default_rng(1)
    before = draws.normal(3, 1, 200)
    changes = draws.normal(0.05, 0.1, 200)
    found = compare(numbers(before), numbers(before + changes), LOSS)
    half = 1.972 * changes.std(ddof=1) / math.sqrt(200)
    assert (found.low, found.high) == pytest.approx((changes.mean() - half, changes.mean() + half), abs=0.003)
    assert found.p_value < 0.001
    assert found.minimal_effect == pytest.approx(2.8 * changes.std() / math.sqrt(200), rel=0.06)
    assert found.verdict().startswith(f"A is better by {changes.mean():.3g} (")


def test_closeness_to_an_ideal() -> None:
    found = compare(*table(300, 200, 50, 50), BIAS)
    assert (found.first, found.second) == pytest.approx((5 / 6, 7 / 12))
    assert found.verdict().endswith("; B is nearer to 50.0.")


def test_an_undefined_metric() -> None:
    undefined = [Unit("0", "0", "", (0.0, 0.0))]
    found = compare(undefined, undefined, LOSS)
    assert math.isnan(found.p_value)
    assert found.verdict() == "The metric is undefined here."


def test_differences_over_groups() -> None:
    """One group of two units counts as much as one of forty."""
    draws = np.random.default_rng(2)
    parts = draws.integers(0, 2, (2, 42)).astype(float)
    first, second = (
        [Unit(str(n), str(n), "small" if n < 2 else "large", (v, 1.0)) for n, v in enumerate(row)] for row in parts
    )
    found = compare(first, second, ACCURACY, "macro")
    expected = [(row[:2].mean() + row[2:].mean()) / 2 for row in parts]
    assert (found.first, found.second) == pytest.approx(expected)
    assert found.test == "flipped clusters"
    assert found.low <= found.difference <= found.high


def test_a_suite_is_corrected_for_its_size() -> None:
    comparisons = {f"null {n}": compare(*table(50, 4, 5, 41), ACCURACY) for n in range(9)}
    comparisons["real"] = compare(*table(500, 10, 45, 445), ACCURACY)
    comparisons["chance"] = compare(*table(50, 2, 10, 38), ACCURACY)
    assert comparisons["chance"].p_value < 0.05
    rows = {row.name: row for row in compare_suite(comparisons, "INT8", "INT4")}
    assert list(rows) == list(comparisons)
    assert rows["real"].adjusted == pytest.approx(11 * comparisons["real"].p_value)
    assert not rows["real"].tied
    assert rows["real"].verdict.startswith("INT4 is better by 3.5 points")
    assert rows["chance"].adjusted == pytest.approx(10 * comparisons["chance"].p_value)
    assert rows["chance"].tied
    assert rows["chance"].verdict.endswith("but among 11 comparisons that may be chance.")


def test_who_is_tied_with_the_best() -> None:
    draws = np.random.default_rng(3)
    easy = draws.random(400)
    systems = {
        name: answers(list(easy + 0.1 * draws.standard_normal(400) < level))
        for name, level in (("weak", 0.4), ("good", 0.7), ("best", 0.72))
    }
    assert tied_with_best(systems, ACCURACY) == ("best", "good")
    assert tied_with_best({"one": systems["weak"]}, ACCURACY) == ("one",)
    assert tied_with_best(systems, LOSS) == ("weak",)
