"""What each mode asks and makes of the answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from toy import TINY_NUMBERS

from glm130b.errors import ConfigError, DataError
from glm130b.evaluation.encode import Encoder
from glm130b.evaluation.items import Answer, Chosen, Compared, Item, Predict, Predicted, Question, Write, Written
from glm130b.evaluation.modes import MODES
from glm130b.evaluation.task import Task
from glm130b.inference import Conventions
from glm130b.tokenization import Tokenizer

RULES = Conventions(end=frozenset({2}))
NUMBERS = Encoder(TINY_NUMBERS, RULES, 64)


def make_task(mode: str, **changes: Any) -> Task:
    tree: dict[str, Any] = {
        "name": "toy",
        "title": "Toy",
        "description": "A task.",
        "data": {"reader": "r", "files": ["f"], "split": "dev", "language": "en", "licence": "MIT", "source": "here"},
        "mode": mode,
        "prompts": [{"id": "p", "jinja": "{{ text }}"}],
        "mask": "[MASK]",
        "metrics": ["accuracy"],
        "family": "toy",
        "provenance": "ours",
        "window": 64,
        "scored": 32,
        **changes,
    }
    return Task.model_validate(tree)


def question(text: str = "9 10", options: Sequence[str] = (), **fields: str) -> Question:
    return Question(Item("dev#1", fields), "p", 0, text, tuple(options), "digest")


@pytest.mark.parametrize(
    ("normalise", "scores"),
    [
        ("sum", (-6.0, -5.0, -8.0)),
        ("token", (-6.0 / 3, -5.0 / 1, -8.0 / 2)),
        ("char", (-6.0 / 8, -5.0 / 2, -8.0 / 5)),
    ],
)
def test_choice(normalise: str, scores: tuple[float, ...]) -> None:
    task = make_task("choice", normalise=normalise)
    asked_question = question(options=("12 13 14", "15", "16 17"))
    way = MODES["choice"]
    requests = way.ask(task, asked_question, "bidirectional", NUMBERS)
    assert requests == [NUMBERS.choose("9 10", ("12 13 14", "15", "16 17"), mask="[MASK]")]
    outcome = way.outcome(task, asked_question, requests, [Answer(log_probs=(-6.0, -5.0, -8.0))])
    assert isinstance(outcome, Chosen)
    assert outcome.lengths == (3, 1, 2)
    assert outcome.log_probs == (-6.0, -5.0, -8.0)
    assert outcome.scores == pytest.approx(scores)
    assert outcome.choice == max(range(3), key=lambda n: scores[n])


def test_bytes_are_of_utf8(tokenizer: Tokenizer) -> None:
    encoder = Encoder(tokenizer, RULES, 64)
    for normalise, divisors in (("byte", (6, 3)), ("char", (2, 3))):
        task, asked = make_task("choice", normalise=normalise), question("Well", ("天气", "sky"))
        requests = MODES["choice"].ask(task, asked, "bidirectional", encoder)
        outcome = MODES["choice"].outcome(task, asked, requests, [Answer(log_probs=(-3.0, -3.0))])
        assert isinstance(outcome, Chosen)
        assert outcome.scores == pytest.approx([-3.0 / divisor for divisor in divisors])


def test_pmi_asks_the_very_same_options_without_the_question(tokenizer: Tokenizer) -> None:
    """Though after Chinese they have no space before them, and after the context they would have one."""
    encoder = Encoder(tokenizer, Conventions(end=frozenset({2}), joins_space=True), 64)
    task = make_task("choice", normalise="pmi", pmi_context="Answer:")
    asked = question("天气", ("good", "bad"))
    way = MODES["choice"]
    first, second = way.ask(task, asked, "bidirectional", encoder)
    assert second.text == tuple(tokenizer.encode("Answer:"))
    assert first.options == second.options == tuple(tuple(tokenizer.encode(word)) for word in ("good", "bad"))
    answers = [Answer(log_probs=(-6.0, -5.0)), Answer(log_probs=(-4.0, -1.0))]
    outcome = way.outcome(task, asked, [first, second], answers)
    assert isinstance(outcome, Chosen)
    assert outcome.unconditional == (-4.0, -1.0)
    assert outcome.scores == (-2.0, -4.0)
    assert outcome.choice == 0


@pytest.mark.parametrize(("mode", "draws"), [("generate", [0]), ("sample", [1, 2, 3])])
def test_written(mode: str, draws: list[int]) -> None:
    task = make_task(mode, decode={"max_new_tokens": 10, "samples": 3}, mask="[gMASK]")
    asked, way = question(" ".join(["9"] * 60)), MODES[mode]  # type: ignore[index]
    requests = way.ask(task, asked, "unidirectional", NUMBERS)
    assert [request.draw for request in requests if isinstance(request, Write)] == draws
    assert {request.attention for request in requests if isinstance(request, Write)} == {"unidirectional"}
    answers = [Answer(text=f"t{draw}", ended=draw != 2) for draw in draws]
    outcome = way.outcome(task, asked, requests, answers)
    assert outcome == Written(asked, tuple(f"t{n}" for n in draws), tuple(n != 2 for n in draws), cut=60 - 52)


def test_lm() -> None:
    task = make_task("lm", prompts=(), mask="[gMASK]")
    text = "  " + " ".join(["9"] * 100) + "  7\n"
    asked = Question(Item("doc", {"text": text}), "", 0, "", (), "")
    way = MODES["lm"]
    requests = way.ask(task, asked, "bidirectional", NUMBERS)
    assert [request.counted for request in requests if isinstance(request, Predict)] == [63, 32, 6]
    answers = [Answer(log_probs=(-float(n),)) for n in (10, 20, 30)]
    outcome = way.outcome(task, asked, requests, answers)
    windows = ((10.0, 63), (20.0, 32), (30.0, 6))
    assert outcome == Predicted(asked, 60.0, 101, words=102, bytes=len(text), windows=windows)  # the empty word counts
    empty = Question(Item("doc", {"text": ""}), "", 0, "", (), "")
    assert way.ask(task, empty, "bidirectional", NUMBERS) == []
    assert way.outcome(task, empty, [], []) == Predicted(empty, 0.0, 0, 1, 0)


def test_pair() -> None:
    """Shared tokens as in the original code: those of matching blocks."""
    task = make_task("pair", prompts=())
    asked = question(first="9 10 11 12", second="9 20 21 11 12")
    way = MODES["pair"]
    requests = way.ask(task, asked, "bidirectional", NUMBERS)
    assert requests == [
        *NUMBERS.each_masked("9 10 11 12", mask="[MASK]"),
        *NUMBERS.each_masked("9 20 21 11 12", mask="[MASK]"),
    ]
    outcome = way.outcome(task, asked, requests, [Answer(log_probs=(-float(n),)) for n in range(9)])
    assert outcome == Compared(
        asked,
        first=(0.0, -1.0, -2.0, -3.0),
        second=(-4.0, -5.0, -6.0, -7.0, -8.0),
        first_shared=(True, False, True, True),
        second_shared=(True, False, False, True, True),
    )
    with pytest.raises(ConfigError, match="unidirectional"):
        way.ask(task, asked, "unidirectional", NUMBERS)


def test_faults_name_task_and_item() -> None:
    for mode, field in (("lm", "text"), ("pair", "first")):
        with pytest.raises(DataError, match=f"toy, item dev#1: '{field}' is no text"):
            MODES[mode].ask(make_task(mode, prompts=()), question(), "bidirectional", NUMBERS)  # type: ignore[index]
    with pytest.raises(DataError, match=r"toy, item dev#1: The option '' has no tokens"):
        MODES["choice"].ask(make_task("choice"), question(options=("9", "")), "bidirectional", NUMBERS)
    long = question(" ".join(["9"] * 70))
    task = make_task("generate", decode={"max_new_tokens": 10}, over_length="refuse")
    with pytest.raises(DataError, match=r"toy, item dev#1: .* room for 52"):
        MODES["generate"].ask(task, long, "bidirectional", NUMBERS)
    pair = question(first="9", second=" ".join(["9"] * 70))
    with pytest.raises(DataError, match=r"toy, item dev#1: A text has 70 tokens"):
        MODES["pair"].ask(make_task("pair", prompts=()), pair, "bidirectional", NUMBERS)


def test_every_mode_of_a_task_is_there() -> None:
    assert sorted(MODES) == ["choice", "generate", "lm", "pair", "sample"]
