"""Templates over records, and the file they come from."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glm130b.errors import DataError
from glm130b.instructions.prompts import OWN, Prompt, RenderError, load_prompts, own_prompts, template_folders
from glm130b.instructions.render import Rendered, Renderer

RENDERER = Renderer()
PLAIN = Prompt("set", "id", "name", "", None, True, None, ("en",), ())


def render(jinja: str, record: dict[str, Any], choices: str | None = None, seed: str = "s") -> Rendered | None:
    return RENDERER.render(replace(PLAIN, jinja=jinja, answer_choices=choices), record, seed)


@pytest.mark.parametrize("middle", ["|||", " ||| ", "\n|||\n", " \n\n||| \n"])
def test_the_text_is_divided_and_stripped(middle: str) -> None:
    assert render(f" in {{{{ x }}}} {middle} out ", {"x": 1}) == Rendered("in 1", "out", None)


@pytest.mark.parametrize("jinja", ["no target", "a |||", "a ||| {{ x }}", "||| b", "{{ x }} ||| b", "a ||| |||"])
def test_not_applicable(jinja: str) -> None:
    assert render(jinja, {"x": " "}) is None


def test_choices() -> None:
    made = render(
        "{{ answer_choices[1] }}? ||| {{ answer_choices[n] }}", {"n": 0, "o": ["x", "y"]}, "{{ o|join('|||')}}"
    )
    assert made == Rendered("y?", "x", ("x", "y"))
    assert render("a ||| {{ answer_choices[0] }}", {}, " one ||| two ") == Rendered("a", "one", ("one", "two"))


def test_several_targets_are_chosen_from_by_the_seed() -> None:
    drawn = {render("a ||| b ||| ||| c", {}, seed=str(seed)) for seed in range(30)}
    assert drawn == {Rendered("a", "b", None), Rendered("a", "c", None)}


def test_only_one_branch_of_a_template_counts() -> None:
    jinja = "Ordered? {% if n %}x ||| Yes{% else %}y ||| No{% endif %}"
    assert render(jinja, {"n": 1}) == Rendered("Ordered? x", "Yes", None)
    assert render(jinja, {"n": 0}) == Rendered("Ordered? y", "No", None)


BARRED = st.text(alphabet="a|b \ufdd0\ufdd1", min_size=1, max_size=12).map(str.strip).filter(bool)


@settings(max_examples=100, deadline=None)
@given(BARRED, BARRED)
def test_bars_in_the_data_do_not_divide(question: str, answer: str) -> None:
    record = {"q": question, "deep": [{"a": (answer, 3)}]}
    assert render("{{ q }}|||{{ deep[0].a[0] }}", record) == Rendered(question, answer, None)
    made = render("{{ answer_choices[0] }}|||{{ answer_choices[1] }}", record, "{{ q }}|||{{ deep[0].a[0] }}")
    assert made == Rendered(question, answer, (question, answer))


@pytest.mark.parametrize(
    ("jinja", "text", "shown"),
    [
        ("{{ x.split('\n') | join }} ||| gold", "a||\n|b", "a|||b"),
        ("{{ x | replace('_', '') }} ||| gold", "a|_||b", "a|||b"),
        ("{{ x.replace('_', '') }} ||| gold", "a|_||b", "a|||b"),
        ("{{ x[:4] }}||| gold", "ab||cd", "ab||"),
        ("{{ x.split() | join }} ||| gold", "see a || | b", "seea|||b"),
        ("{{ x.split('|') | join('/') }} ||| gold", "a|b", "a/b"),
        ("{{ x.split('|||') | join('/') }} ||| gold", "a|||b", "a/b"),
        ("{{ x | replace('|||', '/') }} ||| gold", "a|||b", "a/b"),
        ("{% if '|||' in x and x != '|||' %}bars{% endif %} ||| gold", "a|||b", "bars"),
        ("{{ x | length }} ||| gold", "|||", "3"),
        ("{{ [x] }} ||| gold", "a|||\ufdd0", r"['a|||\ufdd0']"),
    ],
)
def test_bars_that_a_template_makes_of_data_do_not_divide(jinja: str, text: str, shown: str) -> None:
    assert render(jinja, {"x": text}) == Rendered(shown, "gold", None)


@pytest.mark.parametrize(
    "jinja", ["{{ [x, 'gold'] | join('|||') }}", "{{ x ~ ' ||| gold' }}", "{{ 'a,gold'.replace(',', '|||') }}"]
)
def test_bars_of_the_template_s_constants_divide(jinja: str) -> None:
    assert render(jinja, {"x": "a"}) == Rendered("a", "gold", None)


def test_too_many_stand_ins() -> None:
    with pytest.raises(RenderError, match="every code point"):
        render("{{ x }} ||| b", {"x": "".join(map(chr, range(0xFDD0, 0xFDF0)))})


def test_a_record_is_not_changed() -> None:
    record = {"l": [1]}
    for _ in range(2):
        assert render("{% set _ = l.append(2) %}{{ l | length }} ||| t", record) == Rendered("2", "t", None)
    assert record == {"l": [1]}


@pytest.mark.slow
def test_the_same_in_another_process() -> None:
    code = (
        "from glm130b.instructions.prompts import Prompt\n"
        "from glm130b.instructions.render import Renderer\n"
        "jinja = '{{ range(1000) | choice }} ||| {{ r | shuffle }}'\n"
        "p = Prompt('set', 'id', 'name', jinja, None, True, None, (), ())\n"
        "print(Renderer().render(p, {'r': list(range(9))}, 'seed'))"
    )
    here = render("{{ range(1000) | choice }} ||| {{ r | shuffle }}", {"r": list(range(9))}, seed="seed")
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert there.stdout.strip() == str(here)


@pytest.mark.parametrize(
    ("jinja", "reason"),
    [("{% for %}", "not valid Jinja"), ("{{ x | nosuch }}", "nosuch"), ("{{ " + "(" * 5000, "not valid Jinja")],
)
def test_templates_that_cannot_be_compiled(jinja: str, reason: str) -> None:
    with pytest.raises(RenderError, match=reason):
        RENDERER.compile(replace(PLAIN, jinja=jinja))


def test_the_names_a_template_takes() -> None:
    prompt = replace(
        PLAIN, jinja="{% for x in a %}{{ x.b }}{% endfor %} ||| {{ answer_choices[c] }}", answer_choices="{{ d }}"
    )
    assert RENDERER.names(prompt) == {"a", "c", "d"}


def test_a_file_of_templates(colours: Path) -> None:
    first, second = load_prompts(colours / "templates", "colours")
    assert (first.name, first.id, first.original_task, first.choices_in_prompt) == (
        "choose",
        "11111111-aaaa",
        True,
        True,
    )
    assert (first.languages, first.metrics, first.folder) == (("en",), ("Accuracy",), "colours")
    assert second.answer_choices is None
    assert template_folders(colours / "templates") == ["colours"]


HEAD = "templates:\n  k: !Template\n    name: n\n"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: [", "is not a file of templates: line 1"),
        ("- 1", "has no mapping of templates"),
        ("templates: 3", "has no mapping of templates"),
        (HEAD, "the template k lacks its name or its text"),
        (HEAD + "    jinja: [1]", "the template k lacks its name or its text"),
        (HEAD + "    jinja: x\n    name: again", "line 5: the key 'name' stands twice"),
        ("templates: !Template [1]", "!Template is not a mapping"),
        ("x: !!python/object/apply:os.system ['true']", "could not determine a constructor"),
        ("x: !Other {}", "could not determine a constructor"),
        ("? [1]\n: 2", "a key is no word"),
    ],
)
def test_malformed_files(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "templates.yaml").write_text(text)
    with pytest.raises(DataError) as caught:
        load_prompts(tmp_path, "a")
    assert str(tmp_path / "a") in caught.value.problem
    assert problem in caught.value.problem


@pytest.mark.parametrize("folder", ["../a", "/etc", "b"])
def test_folders_that_are_not_there(tmp_path: Path, folder: str) -> None:
    with pytest.raises(DataError):
        load_prompts(tmp_path, folder)


def test_our_own_templates_compile_and_have_both_languages() -> None:
    tasks = sorted(path.name for path in OWN.iterdir())
    assert len(tasks) == 10
    for task in tasks:
        prompts = own_prompts(task)
        assert len({prompt.id for prompt in prompts}) == len({prompt.name for prompt in prompts}) == len(prompts)
        for language in ("en", "zh"):
            assert sum(prompt.languages == (language,) for prompt in prompts) >= 2
        for prompt in prompts:
            RENDERER.compile(prompt)
