from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glm130b.errors import ConfigError, DataError
from glm130b.evaluation.items import Item
from glm130b.evaluation.questions import Questioner, _drawn, promptsource, solved
from glm130b.evaluation.task import Prompt, Task

PROMPT = Prompt(id="p", jinja="{{ text }} Good? [MASK]. ||| {{ answer_choices[label] }}", answer_choices="no ||| yes")


def task(**changes: Any) -> Task:
    values: dict[str, Any] = {
        "name": "t",
        "title": "t",
        "description": "t",
        "family": "t",
        "data": {"reader": "x", "files": ["x"], "split": "x", "language": "en", "licence": "x", "source": "x"},
        "mode": "choice",
        "mask": "[MASK]",
        "prompts": [PROMPT],
        "metrics": ["accuracy"],
        "provenance": "ours",
    }
    return Task.model_validate(values | changes)


def item(name: str, label: int = 0, group: str = "", **fields: Any) -> Item:
    return Item(name, {"text": name, "label": label, **fields}, labels=(label,), group=group)


POOL = [item(f"{group}{n}", n % 2, group) for group in "ab" for n in range(6)]


def test_a_question_is_its_text_and_options() -> None:
    (question,) = Questioner(task()).questions(PROMPT, [item("Salt.", 1)])
    assert (question.text, question.options) == ("Salt. Good? [MASK].", ("no", "yes"))
    assert (question.prompt, question.shots, len(question.digest)) == ("p", 0, 64)


def test_options_of_the_item_itself_are_taken_as_they_are() -> None:
    prompt = Prompt(id="own", jinja="{{ text }} {{ choices | length }} ||| {{ choices[label] }}")
    one = item("Which?", 1, choices=["a ||| b", "{{ c }}", " d"])
    (question,) = Questioner(task()).questions(prompt, [one])
    assert (question.text, question.options) == ("Which? 3", ("a ||| b", "{{ c }}", " d"))


def test_examples_come_first_and_never_hold_the_question() -> None:
    rules = {"sampler": "random", "separator": "\n"}
    questioner = Questioner(task(fewshot=rules), POOL)
    for question in questioner.questions(PROMPT, POOL, shots=11):
        lines = question.text.split("\n")
        assert len(lines) == 12
        assert lines[-1] == f"{question.item.id} Good? [MASK]."
        assert sorted(line.split()[0] for line in lines) == sorted(one.id for one in POOL)
        assert all(line.endswith("yes." if int(line[1]) % 2 else "no.") for line in lines[:-1])


def test_examples_depend_on_the_seed_and_the_item_alone() -> None:
    def texts(seed: int, items: list[Item]) -> dict[str, str]:
        asked = Questioner(task(), POOL, seed=seed).questions(PROMPT, items, shots=3)
        return {question.item.id: question.text for question in asked}

    some = [item("x"), item("y"), item("z")]
    assert texts(0, some) == texts(0, some[::-1])
    assert texts(0, some) != texts(1, some)
    assert len({text[:20] for text in texts(0, some).values()}) > 1


def test_every_order_of_examples_is_as_likely() -> None:
    drawn = Counter(tuple(_drawn(3, random.Random(seed))) for seed in range(3000))
    assert len(drawn) == 6
    assert min(drawn.values()) > 400


def test_examples_of_the_items_own_group_in_order_after_a_preamble() -> None:
    rules = {"sampler": "first", "same_group": True, "separator": "; ", "preamble": "About {{ text }}:"}
    prompt = Prompt(id="p", jinja="{{ text }}? ||| {{ label }}", example="Say {{ label }} to {{ text }}")
    (question,) = Questioner(task(fewshot=rules), POOL).questions(prompt, [item("q", group="b")], shots=2)
    assert question.text == "About q:; Say 0 to b0; Say 1 to b1; q?"


def test_too_few_examples_are_told() -> None:
    questioner = Questioner(task(fewshot={"same_group": True}), POOL)
    with pytest.raises(DataError, match=r"t: 7 solved examples of a are asked for and 6 are there"):
        list(questioner.questions(PROMPT, [item("q", group="a")], shots=7))


@pytest.mark.parametrize(
    ("mask", "text"),
    [("[MASK]", "a [MASK] of its own"), ("[gMASK]", "x"), ("[MASK]", "a [gMASK]"), ("[MASK]", "[sMASK]")],
)
def test_a_blank_too_many_is_refused(mask: str, text: str) -> None:
    with pytest.raises(DataError, match="or another blank"):
        list(Questioner(task(mask=mask)).questions(PROMPT, [item(text)]))


def test_a_wording_that_says_nothing_is_told() -> None:
    prompt = Prompt(id="p", jinja="{% if label %}x ||| y{% endif %}")
    with pytest.raises(ConfigError, match=r"prompt p: item q gives no text or no answer"):
        list(Questioner(task()).questions(prompt, [item("q", 0)]))
    with pytest.raises(ConfigError, match=r"prompt p, item q: it is not valid Jinja"):
        list(Questioner(task()).questions(Prompt(id="p", jinja="{{ ||| y"), [item("q", 0)]))


def test_answers_stand_where_they_belong() -> None:
    assert solved("It is [MASK].", "so") == "It is so."
    assert solved("Answer:", "so") == "Answer: so"
    assert solved("答案：", "是") == "答案：是"
    assert solved("(", "A") == "(A"


@given(st.text(alphabet="ab{}|%[]<> ", max_size=30))
def test_data_are_never_taken_for_a_template(text: str) -> None:
    prompt = Prompt(id="p", jinja="<{{ text }}> ||| x")
    (question,) = Questioner(task()).questions(prompt, [item(text)])
    assert question.text == f"<{text}>"


def test_wordings_of_promptsource_take_the_place_of_ours(tmp_path: Path) -> None:
    (tmp_path / "piqa").mkdir()
    (tmp_path / "piqa" / "templates.yaml").write_text(
        "dataset: piqa\ntemplates:\n"
        "  1: !Template {name: one, jinja: '{{text}} ||| {{answer_choices[label]}}', answer_choices: 'no ||| yes'}\n"
        "  2: !Template {name: free, jinja: '{{text}} ||| x'}\n"
    )
    (only,) = promptsource(task(), tmp_path, "piqa")
    assert (only.id, only.provenance) == ("one", "promptsource")
    (question,) = Questioner(task()).questions(only, [item("q", 1)])
    assert question.options == ("no", "yes")


@pytest.mark.parametrize(
    ("choices", "answer", "label", "told"),
    [
        ("no", "answer_choices[0]", 0, "there are 1 options"),
        ("no ||| yes", "answer_choices[0]", 2, "there are 2 options, and right is number 2"),
        ("yes ||| no", "'no' if label == 0 else 'yes'", 0, "the wording's answer is 'no', and the item's is 'yes'"),
    ],
)
def test_options_that_do_not_go_with_the_labels_are_told(choices: str, answer: str, label: int, told: str) -> None:
    prompt = Prompt(id="p", jinja=f"{{{{ text }}}} ||| {{{{ {answer} }}}}", answer_choices=choices)
    with pytest.raises(ConfigError, match=told):
        next(Questioner(task()).questions(prompt, [item("Salt.", label)]))
