from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from glm130b.evaluation.baselines import majority_score, random_score
from glm130b.evaluation.items import Chosen, Item, Outcome, Question, Written
from glm130b.evaluation.measure import goodness, headlines, scores_of, units_of
from glm130b.evaluation.results import Measurement, Score
from glm130b.evaluation.task import Task

DATA = {"reader": "x", "files": ["x"], "split": "x", "language": "en", "licence": "x", "source": "x"}


def task(**changes: Any) -> Task:
    values: dict[str, Any] = {
        "name": "t",
        "title": "t",
        "description": "t",
        "family": "t",
        "data": DATA,
        "mode": "choice",
        "mask": "[MASK]",
        "prompts": [{"id": name, "jinja": "x ||| y"} for name in "abcd"],
        "metrics": ["accuracy"],
        "provenance": "ours",
    }
    return Task.model_validate(values | changes)


def chosen(n: int, choice: int, label: int = 0, *, options: int = 2, group: str = "", cluster: str = "") -> Chosen:
    item = Item(str(n), {}, labels=(label,), group=group, cluster=cluster)
    question = Question(item, "p", 0, "text", tuple("abcdef"[:options]), "0")
    scores = tuple(float(one == choice) for one in range(options))
    return Chosen(question, scores, (1,) * options, scores)


def accuracy(outcomes: Sequence[Outcome]) -> float:
    return sum(one.choice in one.question.item.labels for one in outcomes if isinstance(one, Chosen)) / len(outcomes)


def measured(rights: dict[str, int], of: int = 10, **changes: Any) -> tuple[Task, list[Measurement], Any]:
    """One measurement a wording, with so many right answers."""
    the_task = task(**changes)
    found, units = [], {}
    for name, right in rights.items():
        outcomes = [chosen(n, 0 if n < right else 1, group="ab"[n % 2]) for n in range(of)]
        parts = units_of(the_task, outcomes)
        one = Measurement(
            prompt=name,
            prompt_text="",
            prompt_provenance="ours",
            shots=0,
            attention="bidirectional",
            questions=of,
            cut=0,
            scores=scores_of(the_task, outcomes, parts),
        )
        found.append(one)
        units[one.key] = parts
    return the_task, found, units


def test_a_score_has_interval_groups_and_baselines() -> None:
    _, (one,), _ = measured({"a": 7}, aggregate="both")
    micro, macro = one.scores
    assert (micro.value, micro.units, micro.clusters, micro.method) == (0.7, 10, 10, "exact")
    assert (micro.low, micro.high) == pytest.approx((0.3475, 0.9333), abs=1e-4)
    assert (micro.random, micro.majority) == (0.5, 1.0)
    assert {name: group[::3] for name, group in micro.groups.items()} == {"a": (0.8, 5), "b": (0.6, 5)}
    assert macro.aggregate == "macro"
    assert macro.value == pytest.approx(0.7)
    assert macro.groups == {}


@pytest.mark.parametrize(
    ("policy", "prompt", "value"), [("median", "a", 0.4), ("max", "c", 0.9), ("mean", "", (4 + 2 + 9 + 6) / 40)]
)
def test_the_headline_is_what_the_policy_says(policy: str, prompt: str, value: float) -> None:
    the_task, found, units = measured({"a": 4, "b": 2, "c": 9, "d": 6}, prompts_report=policy)
    (headline,) = headlines(the_task, found, units)
    assert (headline.policy, headline.prompt, headline.prompts) == (policy, prompt, 4)
    assert headline.score.value == pytest.approx(value)
    assert (headline.worst, headline.median, headline.best) == (0.2, 0.4, 0.9)
    assert headline.mean == pytest.approx(0.525)


def test_the_mean_over_wordings_counts_an_item_once() -> None:
    the_task, found, units = measured({"a": 5, "b": 5}, prompts_report="mean")
    (headline,) = headlines(the_task, found, units)
    assert (headline.score.units, headline.score.clusters) == (20, 10)


def test_one_wording_has_no_policy() -> None:
    the_task, found, units = measured({"a": 5})
    (headline,) = headlines(the_task, found, units)
    assert (headline.policy, headline.prompt) == ("single", "a")


def test_better_is_lower_or_in_the_middle_too() -> None:
    _, (one,), _ = measured({"a": 7})
    score = one.scores[0]

    def good(**changes: Any) -> float:
        return goodness(Score.model_validate(score.model_dump() | changes))

    assert good(value=0.8) > good(value=0.7)
    assert good(value=0.7, better="lower") > good(value=0.8, better="lower")
    assert good(value=0.45, better="middle", ideal=0.5) > good(value=0.6, better="middle", ideal=0.5)
    assert good(value=0.0) > good(value=None)


def test_guessing_evenly() -> None:
    some = [chosen(n, 0, options=2 + n % 3) for n in range(9)]
    assert random_score(accuracy, some, exact=True) == pytest.approx((1 / 2 + 1 / 3 + 1 / 4) / 3)
    drawn = random_score(accuracy, [chosen(n, 0, options=4) for n in range(200)], exact=False)
    assert drawn == pytest.approx(0.25, abs=0.03)
    several = replace(some[0], question=replace(some[0].question, item=Item("x", {}, labels=(0, 1))))
    assert random_score(accuracy, [several], exact=True) == 1.0


def test_always_the_commonest() -> None:
    labels = [1, 1, 0, 1, 2, 0]
    some = [chosen(n, 0, label, options=3) for n, label in enumerate(labels)]
    assert majority_score(accuracy, some) == 0.5
    tied = [chosen(n, 0, label) for n, label in enumerate([1, 0, 0, 1])]
    assert majority_score(accuracy, tied) == 0.5
    written = [
        Written(Question(Item(str(n), {}, references=(text,)), "p", 0, "", (), ""), ("?",), (True,))
        for n, text in enumerate(["Rome", "Oslo", "Rome"])
    ]

    def exact(outcomes: Sequence[Outcome]) -> float:
        return sum(one.texts[0] in one.question.item.references for one in outcomes if isinstance(one, Written)) / 3

    assert majority_score(exact, written) == pytest.approx(2 / 3)
    assert random_score(exact, written, exact=False) is None
