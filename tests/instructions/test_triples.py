"""Lists of triples as text and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glm130b.instructions import format_triples, parse_triples

PART = st.text(alphabet="ab();\\ \n\u3000", max_size=9) | st.text(max_size=9)


@given(st.lists(st.tuples(PART, PART, PART), max_size=5))
def test_round_trip(triples: list[tuple[str, str, str]]) -> None:
    plain = [tuple(" ".join(part.split()) for part in triple) for triple in triples]
    assert parse_triples(format_triples(triples)) == list(dict.fromkeys(plain))


@pytest.mark.parametrize(
    ("triples", "text"),
    [
        ([], "none"),
        ([("Ann Lee", "works for", "ACME")], "( Ann Lee ; works for ; ACME )"),
        ([("a", "r", "b"), ("c", "r", "d"), ("a", "r", "b")], "( a ; r ; b ) ( c ; r ; d )"),
        ([("p65 (RelA)", "binds; holds", "x)")], "( p65 (RelA) ; binds; holds ; x) )"),
        ([("IL ( 4 ) ;", "r", "\\;")], "( IL \\( 4 \\) \\; ; r ; \\\\; )"),
        ([("", "r", "b")], "(  ; r ; b )"),
        ([("none", "none", "none")], "( none ; none ; none )"),
    ],
)
def test_by_hand(triples: list[tuple[str, str, str]], text: str) -> None:
    assert format_triples(triples) == text


@pytest.mark.parametrize(
    ("text", "triples"),
    [
        ("", []),
        ("none", []),
        ("I think ( a ; r ; b ) and ( c ; r", [("a", "r", "b")]),
        ("( a ; b ) ( a ; b ; c ; d ) ( ( x ; y ; z )", [("x", "y", "z")]),
        (") ; ( a ; r ; b ) )", [("a", "r", "b")]),
    ],
)
def test_what_a_model_may_write(text: str, triples: list[tuple[str, str, str]]) -> None:
    assert parse_triples(text) == triples
