"""What templates may do, and what they may not."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest

from glm130b.instructions import budget
from glm130b.instructions.prompts import RenderError
from glm130b.instructions.sandbox import Sandbox, most_frequent

SANDBOX = Sandbox()


def run(source: str, seed: int = 0, **values: Any) -> str:
    SANDBOX.begin(random.Random(seed))
    return SANDBOX.run(SANDBOX.compile_source(source), values)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{{ zip([1, 2], ['a', 'b']) | list }}", "[(1, 'a'), (2, 'b')]"),
        ("{% for a, b in zip('xy', 'zw') %}{{ a ~ b }}{% endfor %}", "xzyw"),
        ("{{ [2, 1, 2, 1, 3] | most_frequent | join('+') }}", "2+1"),
        ("{{ [] | most_frequent }}", "[]"),
        ("{{ 'seen' | highlight }}", "seen"),
        ("{{ [1, 2, 3, 4] | shuffle | sort | join }}", "1234"),
        ("{{ text[1:-1] | upper }}", "BC"),
        ("{{ 'a-b'.split('-') | join(', ') }}", "a, b"),
        ("{{ 'aXa' | replace('X', none) }}", "aNonea"),
        ("{{ '%.2f' | format(1.005 + 1) }}", "2.00"),
        ("{{ (7 / 2) | round | int }}", "4"),
        ("{{ 7 % 4 }}{{ 2 ** 3 }}{{ 'ab' * 2 }}", "38abab"),
        ("{{ rows | map(attribute='n') | join('/') }}", "1/2"),
        ("{{ rows | join('/', attribute='n') }}", "1/2"),
        ("{{ ['x', ''] | reject('equalto', '') | list }}", "['x']"),
        ("{% set d = {} %}{% set _ = d.update({'k': 1}) %}{{ d.k }}", "1"),
        ("{% set l = [] %}{% set _ = l.append(3) %}{{ l[0] }}", "3"),
        ("{% set ns = namespace(n=0) %}{% for i in range(4) %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}", "6"),
        ("{% for i in range(3) %}{{ loop.index }}{{ ',' if not loop.last }}{% endfor %}", "1,2,3"),
        ("{{ absent | default('none given') }}{% if absent %}!{% endif %}", "none given"),
        ("{{ rows.missing | default('none given') }}", "none given"),
        ("{{ 'b' in text }}{{ text == 'abcd' }}", "TrueTrue"),
    ],
)
def test_what_templates_need(source: str, expected: str) -> None:
    assert run(source, text="abcd", rows=[{"n": 1}, {"n": 2}]) == expected


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("{{ range(10 ** 9) | list }}", "Range too big"),
        ("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "too long"),
        ("{% set l = [1] %}{% for x in l %}{% set _ = l.append(1) %}{% endfor %}", "too long"),
        ("{% set n = namespace(x='a') %}{% for i in range(99) %}{% set n.x = n.x ~ n.x %}{% endfor %}", "too long"),
        ("{% set n = namespace(x='a') %}{% for i in range(99) %}{% set n.x = n.x + n.x %}{% endfor %}", "too long"),
        (
            "{% set n = namespace(x=[1]) %}{% for i in range(99) %}{% set n.x = [n.x, n.x] %}{% endfor %}{{ n.x }}",
            "too long",
        ),
        (
            "{% set n = namespace(x=[1], y=[1]) %}{% for i in range(99) %}{% set n.x = [n.x, n.x] %}"
            "{% set n.y = [n.y, n.y] %}{% endfor %}{{ n.x == n.y }}",
            "too long",
        ),
        ("{% set n = namespace() %}{% set n.x = n %}{{ [n] | string }}", "too long"),
        ("{% set l = [] %}{% set _ = l.append(l) %}{{ l }}", "too long"),
        ("{{ 'a' * 10 ** 10 }}", "too long"),
        ("{{ [1] * 10 ** 9 }}", "too long"),
        ("{{ 10 ** 1000 }}", "power"),
        ("{{ '%99999d' % 1 }}", "width"),
        ("{{ '%99999d' | format(1) }}", "width"),
        ("{{ '%*d' | format(99999, 1) }}", "width"),
        ("{{ 1 | round(10 ** 9, 'ceil') }}", "digits"),
        ("{{ big | replace('a', big) }}", "too long"),
        ("{{ big.replace('a', big) }}", "too long"),
        ("{{ big | join(big) }}", "too long"),
        ("{{ big.join(big) }}", "too long"),
        ("{% for i in range(99999) %}{% set y = big[1:] %}{% endfor %}", "too long"),
        ("{{ big }}" * 11, "prints more than"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "without end"),
        ("{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}", "too long"),
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
        ("{{ ''['__class__'] }}", "unsafe"),
        ("{{ [].__class__.__base__.__subclasses__() }}", "unsafe"),
        ("{{ range.__globals__ }}", "unsafe"),
        ("{{ namespace.__init__.__globals__ }}", "unsafe"),
        ("{{ self._TemplateReference__context }}", "unsafe"),
        ("{{ loop.__init__ }}", "unsafe"),
        ("{{ '{0.__class__}'.format(1) }}", "unsafe"),
        ("{{ 'x'.format_map({}) }}", "unsafe"),
        ("{{ 'x'.ljust(10 ** 10) }}", "unsafe"),
        ("{{ 'x'.encode() }}", "unsafe"),
        ("{% include 'other' %}", "no loader"),
        ("{{ [1, 2].append }}", "no text"),
        ("{{ zip([1], [2]) }}", "no text"),
        ("{{ absent }}", "'absent' is undefined"),
        ("{{ absent.below }}", "'absent' is undefined"),
        ("{{ [absent] }}", "undefined"),
        ("{{ 'a' ~ absent }}", "undefined"),
        ("{% for x in absent %}{% endfor %}", "undefined"),
        ("{{ absent | length }}", "undefined"),
        ("{{ [] | choice }}", "empty list"),
        ("{{ [1][3] }}", "no element 3"),
    ],
)
def test_what_templates_may_not(monkeypatch: pytest.MonkeyPatch, source: str, reason: str) -> None:
    monkeypatch.setattr(budget, "BUDGET", 2_000_000)
    with pytest.raises(RenderError, match=reason):
        run(source, big="a" * 100_000)


@pytest.mark.parametrize("name", ["attr", "center", "indent", "urlize", "pprint", "xmlattr", "tojson", "batch"])
def test_filters_that_are_not_there(name: str) -> None:
    with pytest.raises(Exception, match=f"No filter named '{name}'"):
        SANDBOX.compile_source(f"{{{{ 'x' | {name} }}}}")


def test_nothing_runs_while_a_template_is_compiled() -> None:
    SANDBOX.begin(random.Random(0))
    SANDBOX.compile_source("{{ 'a' * 10 ** 10 }}{{ '%999999999d' | format(1) }}{% set x = 'a' | replace('a', 'b') %}")


def test_a_long_template_is_refused() -> None:
    with pytest.raises(RenderError, match="longer than"):
        SANDBOX.compile_source("x" * 100_001)


def test_choice_follows_the_seed_alone() -> None:
    source = "{{ [0, 1, 2, 3, 4] | choice }}{{ range(5) | random }}{{ [0, 1, 2] | shuffle | join }}"
    drawn = [run(source, seed) for seed in range(60)]
    assert drawn == [run(source, seed) for seed in range(60)]
    assert set(Counter(text[0] for text in drawn)) == set("01234")
    assert len(set(drawn)) > 30


def test_candidates_hold_what_is_right() -> None:
    labels = [f"l{n}" for n in range(50)]
    for seed in range(20):
        shown = run("{{ labels | candidates(['l7', 'l30'], 5) | join(' ') }}", seed, labels=labels).split()
        assert len(shown) == len(set(shown)) == 5
        assert {"l7", "l30"} <= set(shown) <= set(labels)
    everything = run("{{ labels | candidates(labels, 5) | sort | join(' ') }}", labels=labels).split()
    assert everything == sorted(labels)


def test_most_frequent_keeps_the_order() -> None:
    assert most_frequent(["b", "a", "b", "c", "a"]) == ["b", "a"]
