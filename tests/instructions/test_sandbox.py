"""What templates may do, and what they may not."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markupsafe import Markup

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
        ("{{ zip([1, 2], ['a', 'b']) | list }}{{ zip() }}", "[(1, 'a'), (2, 'b')][]"),
        ("{{ zip('ab', [1]) }}{{ range(1, 6, 2) }}", "[('a', 1)][1, 3, 5]"),
        ("{{ rows | sum(attribute='n') }}{{ [1, 2.5] | sum }}", "33.5"),
        ("{{ 'b' not in text }}{{ 3 in [1] }}{{ 'n' in rows[0] }}{{ 1 is in([1]) }}", "FalseFalseTrueTrue"),
        ("{{ ['a', 'b'] | select('in', 'bc') | join }}", "b"),
        ("{{ 1 < 2 < 3 }}{{ 2 ** 64 * 2 ** 64 }}", "True340282366920938463463374607431768211456"),
        ("{{ text.rsplit('c', 1)[0] }}{{ 'xabx'.strip('x') }}{{ 'xax' | trim('x') }}", "ababa"),
        ("{{ {'a': {'b': 2}}['a']['b'] }}{{ [1, 1, 2] | unique | join }}", "212"),
        ("{% for i in [3, 4] %}{{ loop.cycle('x', 'y') }}{{ loop.revindex }}{% endfor %}", "x2y1"),
        ("{% if [] | map('upper') %}a lazy sequence is true{% endif %}", "a lazy sequence is true"),
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
        ("{{ [[1]] | sum(start=[]) }}", "unexpected keyword"),
        ("{{ ('a' * 400000).strip('b' * 400000 ~ 'a') }}", "too long"),
        ("{{ ('a' * 400000) | trim('b' * 400000 ~ 'a') }}", "too long"),
        ("{{ ('a' * 400000) | trim(chars='b' * 400000 ~ 'a') }}", "too long"),
        ("{{ ('a' * 400000).rsplit(sep='a' * 50000 ~ 'b' ~ 'a' * 50000) }}", "too long"),
        ("{{ ('a' * 400000).rfind('a' * 50000 ~ 'b' ~ 'a' * 50000) }}", "too long"),
        ("{{ ('a' * 400000).rsplit('a' * 50000 ~ 'b' ~ 'a' * 50000, 1) }}", "too long"),
        ("{% for i in range(9999) %}{% if 'a' in range(99999) %}{% endif %}{% endfor %}", "too long"),
        ("{% for i in range(9999) %}{% set x = (wave[:2400]).find(wave[1000:]) %}{% endfor %}", "too long"),
        ("{% for i in range(9999) %}{% if wave[1000:2400] in wave[:2400] %}{% endif %}{% endfor %}", "too long"),
        ("{% for i in zip(*[range(99999)] * 99999) %}{% endfor %}", "too long"),
        ("{{ zip(*[range(9999)] * 20000) | list }}", "too long"),
        ("{% for i in range(99999) %}{% set x = [" + "1," * 2000 + "] %}{% endfor %}", "too long"),
        ("{% set n = namespace(x=2 ** 64) %}{% for i in range(9) %}{% set n.x = n.x * n.x %}{% endfor %}", "bits"),
        ("{% set n = namespace(x=2 ** 64) %}{% for i in range(9) %}{% set n.x = n.x * -n.x %}{% endfor %}", "bits"),
        ("{{ ('f' * 9000) | int(0, 16) }}", "bits"),
        ("{{ ('%999d' * 4000) % tuple }}", "too long"),
        ("{{ big | list }}", "too long"),
        ("{{ big | unique | list }}", "too long"),
        ("{{ big.split() }}{{ big.split('a') }}", "too long"),
        ("{% set l = [] %}{% set _ = l.extend(big * 9) %}", "too long"),
        ("{% set d = {} %}{% set _ = d.update(zip(range(9999), range(9999))) %}", "too long"),
        ("{{ range(9999) | unique | list }}", "too long"),
        ("{{ range(9999) | most_frequent }}", "too long"),
        ("{{ [2, 1].sort(key=zip) }}", "sorts by a function"),
        ("{% for i in range(99999) %}{% set _ = {'k': 1}['k'] %}{% endfor %}", "too long"),
        (
            "{% set d = {} %}{% set _ = d.update({'a': d}) %}{{ [d] | map(attribute='a.' * 99999 ~ 'a') | list }}",
            "long",
        ),
        ("{{ 1 in [1] in [[1]] }}", "chains comparisons"),
        ("{% macro f() %}{% endmacro %}", "line 1 has the node Macro, which templates may not use"),
        ("{% call f() %}{% endcall %}", "the node CallBlock,"),
        ("{% filter upper %}x{% endfilter %}", "the node FilterBlock,"),
        ("{% set x %}x{% endset %}", "the node AssignBlock,"),
        ("{% with x = 1 %}{% endwith %}", "the node With,"),
        ("{% block b %}{{ self.b() }}{% endblock %}", "the node Block,"),
        ("{% import 'x' as y %}", "the node Import,"),
        ("{% extends 'x' %}", "the node Extends,"),
        ("{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}", "the node recursive For,"),
        (
            "{% autoescape true %}{% endautoescape %}",
            "line 1 has the node ScopedEvalContextModifier, which templates may not use",
        ),
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
        ("{% include 'other' %}", "the node Include,"),
        ("{{ [1, 2].append }}", "no text"),
        ("{{ [1].append | upper }}", "prints a builtin_function_or_method, which is no text"),
        ("{{ [[1].append] | title }}", "no text"),
        ("{{ range | trim }}", "no text"),
        ("{{ zip | lower }}", "no text"),
        ("{{ namespace | capitalize }}", "no text"),
        ("{{ namespace() | wordcount }}", "no text"),
        ("{{ ['a'] | map('upper') | upper }}", "no text"),
        ("{{ [[1].append] | map('upper') | list }}", "no text"),
        ("{{ [1].append is upper }}", "no text"),
        ("{{ [1][[1].append] }}", "no element <built-in method append of list object>"),
        ("{{ (1).real }}", "unsafe"),
        ("{{ 'x'['format'] }}", "unsafe"),
        ("{{ ['x'] | map(attribute='format') | list }}", "unsafe"),
        ("{{ namespace(x=1).__class__ }}", "unsafe"),
        ("{{ namespace(x=1)._Namespace__attrs }}", "unsafe"),
        ("{% for x in [1] %}{{ loop._iterator }}{% endfor %}", "unsafe"),
        ("{{ [1] | map('_steps') | list }}", "No filter named '_steps'"),
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
        run(source, big="a" * 100_000, wave="ab" * 1200, tuple=[1] * 4000)


@pytest.mark.parametrize(
    "name", ["attr", "center", "indent", "urlize", "pprint", "xmlattr", "tojson", "batch", "_paid", "_steps", "_concat"]
)
def test_filters_that_are_not_there(name: str) -> None:
    with pytest.raises(Exception, match=f"No filter named '{name}'"):
        SANDBOX.compile_source(f"{{{{ 'x' | {name} }}}}")


def test_a_template_cannot_reach_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Text that Jinja takes for safe markup has a ``format`` of its own."""
    monkeypatch.setenv("SECRET", "leaked")
    path = "0._environment.__class__.__init__.__globals__[re].__dict__[enum].sys.modules[os].environ[SECRET]"
    for source in (
        f"{{% macro m() %}}{{% endmacro %}}{{% autoescape true %}}{{% set f %}}{{{path}}}{{% endset %}}"
        "{{ f.format(m) }}{% endautoescape %}",
        f"{{{{ safe.format(range) }}}}{{# {path} #}}",
        f"{{{{ '{{{path}}}'.format(range) }}}}",
    ):
        with pytest.raises(RenderError, match=r"which templates may not use|unsafe"):
            run(source, safe=Markup("{0.__self__}"))


@settings(max_examples=30, deadline=None)
@given(st.text("ab|", max_size=9), st.text("ab|", max_size=3))
def test_methods_pay_and_change_nothing(text: str, wanted: str) -> None:
    for method in ("find", "rfind", "count", "strip", "startswith", "removesuffix"):
        assert run(f"{{{{ t.{method}(w) }}}}", t=text, w=wanted) == str(getattr(text, method)(wanted))
    for method in ("split", "rsplit", "partition", "rpartition") if wanted else ():
        assert run(f"{{{{ t.{method}(w) | list }}}}", t=text, w=wanted) == str(list(getattr(text, method)(wanted)))
    assert (
        run("{{ w in t }}{{ t.replace(w, '-') }}", t=text, w=wanted) == f"{wanted in text}{text.replace(wanted, '-')}"
    )


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
