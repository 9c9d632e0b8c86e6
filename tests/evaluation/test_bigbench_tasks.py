"""BIG-bench: layout, scores and aggregate, against BIG-bench's own rules written out plainly."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from real_data import REAL, needs_real

from glm130b.errors import DataError
from glm130b.evaluation.bigbench import bigbench_aggregate
from glm130b.evaluation.data_files import load_items
from glm130b.evaluation.items import Chosen, Item, Question, Written
from glm130b.evaluation.measure import headlines, scores_of, units_of
from glm130b.evaluation.metrics import METRICS
from glm130b.evaluation.metrics.bigbench import cut_output, text_score
from glm130b.evaluation.questions import Questioner
from glm130b.evaluation.readers import READERS
from glm130b.evaluation.registry import known_tasks
from glm130b.evaluation.results import Measurement, TaskResult
from glm130b.evaluation.statistics import value_of

FIXTURES = Path(__file__).parents[1] / "fixtures" / "evaluation"
LITE = {name: task for name, task in known_tasks().items() if task.family == "bigbench"}


def texts(name: str, shots: int, data: Path = FIXTURES) -> list[Question]:
    task = known_tasks()[name]
    loaded = load_items(task, data, shots=shots)
    return list(Questioner(task, loaded.pool).questions(task.prompts[0], loaded.items, shots))


def plainly(tree: dict[str, Any], example: dict[str, Any]) -> str:
    """An example up to its answer, by the rules of BIG-bench's documentation, for tasks that show no options."""
    return tree.get("example_input_prefix", "\nQ: ") + example["input"] + tree.get("example_output_prefix", "\nA: ")


def answers(example: dict[str, Any]) -> list[str]:
    if "target" in example:
        return [example["target"]] if isinstance(example["target"], str) else list(example["target"])
    scores = example["target_scores"]
    return [option for option in scores if scores[option] == max(scores.values())]


def check_against_the_rules(name: str, data: Path, limit: int = 200) -> None:
    tree = json.loads((data / "bigbench" / name.split("/")[1] / "task.json").read_text(encoding="utf-8"))
    by_place = dict(enumerate(tree["examples"]))
    prefix, separator = tree.get("task_prefix", ""), tree.get("few_shot_example_separator", "\n")
    for shots in (0, 1, 3):
        for question in texts(name, shots, data)[:limit]:
            own = by_place[int(question.item.id.split("#")[1])]
            query = plainly(tree, own) + "[MASK]"
            assert question.text.startswith(prefix)
            assert question.text.endswith(query)
            assert tree["canary"].split()[-1] not in question.text
            before = question.text[len(prefix) : -len(query)]
            assert before == "" if shots == 0 else before.endswith(separator)
            for _ in range(shots):
                solved = {
                    plainly(tree, other) + (answer.strip() or "(nothing)") + separator
                    for other in by_place.values()
                    if other != own
                    for answer in answers(other)
                }
                ends = [one for one in solved if before.endswith(one)]
                assert ends, before[-300:]
                before = before[: -len(max(ends, key=len))]
            assert before == ""


def test_the_list_is_that_of_big_bench_lite() -> None:
    assert len(LITE) == 24
    assert {task.mode for task in LITE.values()} == {"choice", "generate"}
    assert all(task.fewshot.shots == (0, 1, 3) for task in LITE.values())


@pytest.mark.parametrize(
    "name", ["operators", "linguistics_puzzles", "auto_debugging", "conlang_translation", "strategyqa"]
)
def test_examples_stand_before_the_question_as_the_file_says(name: str) -> None:
    check_against_the_rules(f"bigbench/{name}", FIXTURES)


@pytest.mark.slow
@needs_real
def test_real_examples_stand_before_the_question_as_the_file_says() -> None:
    check_against_the_rules("bigbench/operators", REAL, limit=40)


@needs_real
@pytest.mark.parametrize(("name", "items"), [("linguistics_puzzles", 2000), ("operators", 210), ("strategyqa", 2289)])
def test_the_real_files_are_complete(name: str, items: int) -> None:
    """Two of them hold one example twice, which BIG-bench's own code counts once."""
    task = LITE[f"bigbench/{name}"]
    rows = json.loads((REAL / "bigbench" / name / "task.json").read_text(encoding="utf-8"))["examples"]
    assert len({json.dumps(row) for row in rows}) == items
    assert load_items(task, REAL).available == task.data.expects == items


def test_options_are_shown_in_a_drawn_order_and_scored_as_they_are() -> None:
    questions = texts("bigbench/symbol_interpretation", 0)
    assert questions[0].text.startswith("A mark has one best meaning.\n\nInput: Mark a means\n- ")
    assert questions[0].text.endswith("\nOutput: [MASK]")
    for question in questions:
        shown = re.findall(r"\n- (\w+)", question.text)
        assert sorted(shown) == sorted(question.options) == ["down", "still", "up"]
    assert questions[3].item.labels == (0, 1), "two options are equally right"
    assert (questions[0].item.fields["low"], questions[0].item.fields["high"]) == (0.5, 1.0)
    assert len({tuple(re.findall(r"\n- (\w+)", question.text)) for question in questions}) > 1


def test_subtasks_are_groups_and_the_file_above_them_is_none() -> None:
    questions = texts("bigbench/logical_deduction", 1)
    assert {question.item.group for question in questions} == {"three_objects", "five_objects"}
    for question in questions:
        other = ({"three_objects", "five_objects"} - {question.item.group}).pop().replace("_", " ")
        assert other not in question.text, "an example of the other subtask"


@given(
    text=st.text("ab7-. \n", max_size=30),
    stop=st.sampled_from([None, "\n", "b", ". "]),
    regex=st.sampled_from([None, r"([-+]?\d+)[.]{0,1}$", r"[^\.\?\!\;\n]+", r"a|b", r"a(b)?"]),
)
def test_outputs_are_cut_as_by_the_plain_rules(text: str, stop: str | None, regex: str | None) -> None:
    expected = text
    if stop and expected.find(stop) > 0:
        expected = expected[: expected.index(stop)] + stop
    if regex:
        expected = next(iter(re.findall(regex, expected)), "")
    assert cut_output(text, stop, regex) == expected


@pytest.mark.parametrize(
    ("score", "answer", "references", "expected"),
    [
        ("exact_str_match", " 17\n", ["17"], 1),
        ("exact_str_match", "Seventeen", ["seventeen"], 0),
        ("exact_str_match", "b", ["a", "b"], 1),
        ("rouge1", "the cat ran", ["the cat sat"], 2 / 3),
        ("rouge2", "the cat ran", ["the cat sat"], 1 / 2),
        ("rougeLsum", "cat the sat", ["the cat sat"], 2 / 3),
        ("rougeLsum", "nothing", ["else", "nothing"], 1),
        ("rouge1", "cats", ["cat"], 0),
    ],
)
def test_scores_of_free_text(score: str, answer: str, references: list[str], expected: float) -> None:
    assert text_score(score, answer, references) == pytest.approx(expected)


def chosen(number: int, scores: list[float], choice: int, group: str = "") -> Chosen:
    fields = {"target_scores": scores, "low": sum(scores) / len(scores), "high": max(scores)}
    labels = tuple(n for n, value in enumerate(scores) if value == max(scores))
    picked = tuple(float(n == choice) for n in range(len(scores)))
    item = Item(str(number), fields, labels=labels, group=group)
    return Chosen(Question(item, "p", 0, "", ("x",) * len(scores), ""), picked, (1,) * len(scores), picked)


@given(
    st.lists(
        st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=2, max_size=4).filter(lambda row: len(set(row)) > 1),
        min_size=1,
        max_size=12,
    ),
    st.data(),
)
def test_the_normalised_score_is_the_share_of_the_way_from_low_to_high(rows: list[list[float]], data: Any) -> None:
    choices = [data.draw(st.integers(0, len(row) - 1)) for row in rows]
    outcomes = [chosen(n, row, choice) for n, (row, choice) in enumerate(zip(rows, choices, strict=True))]
    raw = sum(row[choice] for row, choice in zip(rows, choices, strict=True)) / len(rows)
    low = sum(sum(row) / len(row) for row in rows) / len(rows)
    high = sum(map(max, rows)) / len(rows)
    found = {name: value_of(METRICS[name].units(outcomes), METRICS[name]) for name in LITE["bigbench/winowhy"].metrics}
    assert found["multiple_choice_grade"] == pytest.approx(raw)
    assert found["bigbench_normalised"] == pytest.approx((raw - low) / (high - low))


def test_always_the_best_is_one_and_free_text_starts_from_nothing() -> None:
    best = [chosen(n, row, row.index(max(row))) for n, row in enumerate([[0.0, 1.0], [0.5, 0.0, 1.0]])]
    metric = METRICS["bigbench_normalised"]
    assert value_of(metric.units(best), metric) == pytest.approx(1)
    questions = texts("bigbench/operators", 0)
    outputs = ["3\n", "It is 7.", "4", "-4"]
    answered = [Written(q, (text,), (True,)) for q, text in zip(questions, outputs, strict=True)]
    assert [unit.parts for unit in metric.units(answered)] == [(1, 0, 1), (1, 0, 1), (0, 0, 1), (0, 0, 1)]


def result(name: str, rows: list[tuple[list[float], int, str]]) -> TaskResult:
    task = LITE[name]
    outcomes = [chosen(n, scores, choice, group) for n, (scores, choice, group) in enumerate(rows)]
    units = units_of(task, outcomes)
    one = Measurement(
        prompt="p",
        prompt_text="",
        prompt_provenance="official",
        shots=1,
        attention="bidirectional",
        questions=len(rows),
        cut=0,
        scores=scores_of(task, outcomes, units),
    )
    return TaskResult(
        name=name,
        title=name,
        family=task.family,
        mode=task.mode,
        mask=task.mask,
        normalise=task.normalise,
        language="en",
        split="",
        licence="",
        source="",
        provenance="paper",
        notes="",
        items=len(rows),
        available=len(rows),
        expects=None,
        seen="none",
        files=(),
        measurements=(one,),
        headlines=tuple(headlines(task, [one], {one.key: units})),
        published=(),
    )


def test_the_aggregate_is_the_mean_over_tasks_of_the_mean_over_subtasks() -> None:
    pair = [1.0, 0.0]
    plain = result("bigbench/winowhy", [(pair, n % 4 == 0, "") for n in range(40)])  # 3 of 4 right: halfway
    split = result("bigbench/logical_deduction", [(pair, 0, "a")] * 6 + [(pair, n % 2, "b") for n in range(30)])
    found = bigbench_aggregate([plain, split])
    assert list(found) == [1]
    assert found[1].value == pytest.approx((0.5 + (1 + 0) / 2) / 2)
    assert found[1].tasks == ("bigbench/winowhy", "bigbench/logical_deduction")
    assert found[1].missing == ()
    alone = bigbench_aggregate([plain])[1]
    (row,) = [row.score for row in plain.headlines if row.metric == "bigbench_normalised" and row.aggregate == "macro"]
    assert (alone.low, alone.high) == pytest.approx((row.low, row.high))
    assert bigbench_aggregate([]) == {}
    assert math.isfinite(alone.low)


GOOD: dict[str, Any] = {
    "preferred_score": "multiple_choice_grade",
    "metrics": ["multiple_choice_grade"],
    "examples": [{"input": "a", "target_scores": {"x": 1, "y": 0}}],
}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"examples": []}, "there are none"),
        ({"examples": [{"target": "a"}]}, r"examples\[0\]: 'input' is missing"),
        ({"examples": [{"input": "a"}]}, "'target_scores' is missing"),
        ({"examples": [{"input": "a", "target_scores": {"x": 1}}]}, "there are 1 options"),
        ({"examples": [{"input": "a", "target_scores": {"x": "1", "y": "0"}}]}, "'x' is str"),
        ({"examples": [{"input": "a", "target_scores": {"x": float("nan"), "y": 0}}]}, "is not finite"),
        ({"examples": [{"input": "a", "target_scores": {"x": 10**400, "y": 0}}]}, "is not finite"),
        ({"preferred_score": None}, "'preferred_score' is NoneType"),
        ({"preferred_score": "bleu"}, "the score is bleu"),
        ({"output_regex": "("}, "no regular expression"),
        ({"output_regex": "(a)(b)"}, "it has 2 groups"),
        ({"append_choices_to_input": "yes"}, "append_choices_to_input"),
        ({"task_prefix": 3}, "task_prefix"),
    ],
)
def test_a_file_that_is_no_task_is_named(change: dict[str, Any], told: str, tmp_path: Path) -> None:
    file = tmp_path / "task.json"
    file.write_text(json.dumps(GOOD))
    assert len(list(READERS["bigbench"]([file], answers="options"))) == 1
    file.write_text(json.dumps(GOOD | change))
    with pytest.raises(DataError, match=told) as raised:
        list(READERS["bigbench"]([file], answers="options"))
    assert "task.json" in str(raised.value)


@pytest.mark.parametrize("content", ["3", "[]", "{}", "not JSON"])
def test_other_json_is_named(content: str, tmp_path: Path) -> None:
    (tmp_path / "task.json").write_text(content)
    with pytest.raises(DataError, match=r"task\.json"):
        list(READERS["bigbench"]([tmp_path / "task.json"], answers="options"))


def test_a_score_that_cannot_be_had_names_one_that_can(tmp_path: Path) -> None:
    file = tmp_path / "task.json"
    file.write_text(json.dumps(GOOD | {"preferred_score": "bleu", "metrics": ["bleu", "exact_str_match"]}))
    with pytest.raises(DataError, match="score: exact_str_match"):
        list(READERS["bigbench"]([file], answers="text"))


@needs_real
@pytest.mark.parametrize(
    ("name", "options"),
    [("formal_fallacies", 2), ("logical_deduction_three_objects", 3), ("logical_deduction_five_objects", 5)],
)
def test_the_real_stand_ins_have_their_options(name: str, options: int) -> None:
    task = known_tasks()[f"bbh/{name}"]
    rows = json.loads((REAL / "bbh" / f"{name}.json").read_text(encoding="utf-8"))["examples"]
    items = load_items(task, REAL).items
    assert len(items) == task.data.expects == len(rows)
    for item, row in zip(items, rows, strict=True):
        assert len(item.fields["choices"]) == options
        assert item.fields["choices"][item.labels[0]] == row["target"]


def test_a_target_that_is_no_option_is_named(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    file.write_text(json.dumps({"examples": [{"input": "Which?\nOptions:\n(A) a\n(B) b", "target": "(C)"}]}))
    with pytest.raises(DataError, match=r"x\.json, examples\[0\]: the target '\(C\)' is none of 2 options"):
        list(READERS["bbh"]([file]))


@needs_real
@pytest.mark.parametrize(
    ("name", "answers", "items", "first"),
    [
        ("word_sorting", "text", 1900, ("List: stick gelatine\nSorted: ", ["gelatine stick"])),
        ("sports_understanding", "options", 1000, (None, ["plausible"])),
    ],
)
def test_any_other_task_is_read(name: str, answers: str, items: int, first: tuple[str | None, list[str]]) -> None:
    file = REAL / "bigbench" / name / "task.json"
    rows = json.loads(file.read_text(encoding="utf-8"))["examples"]
    found = list(READERS["bigbench"]([file], answers=answers))
    assert len(rows) == items
    assert len(found) == len({json.dumps(row) for row in rows})
    assert first[0] in (None, found[0].fields["question"])
    assert found[0].fields["targets"] == first[1]
    assert found[0].fields["fewshot_layout"]["preamble"].endswith(".\n\n")
