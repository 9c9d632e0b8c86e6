"""What templates see of annotated records, and that what they ask for can be read back."""

from __future__ import annotations

import pytest

from glm130b.config import Task
from glm130b.instructions import parse_triples
from glm130b.instructions.neutral import Argument, Entity, Frame, Record, Relation, Turn
from glm130b.instructions.prompts import own_prompts
from glm130b.instructions.render import Renderer
from glm130b.instructions.tasks import VIEWS, View

SENTENCE = Record(
    "Ann saw ACME ( in Oslo ) .",
    (Entity(0, 3, "person"), Entity(8, 12, "organization"), Entity(8, 24, "place"), Entity(8, 12, "firm")),
    (Relation(1, "based in", 2), Relation(0, "saw", 1), Relation(0, "knows", 1)),
    (Frame(4, 7, "see.01", (Argument(8, 12, "ARG1"), Argument(0, 3, "ARG0"))), Frame(4, 7, "saw.01")),
    (Frame(4, 7, "Meeting", (Argument(0, 3, "Visitor"),)),),
)
DIALOGUE = Record(
    turns=(
        Turn("user", "Hello.", {}),
        Turn("system", "Yes?"),
        Turn("user", "A train on friday.", {"train-day": ("friday", "fri"), "day": (), "a": ("x ; y",)}),
    )
)
REQUEST = Record("play old song", (Entity(5, 13, "item"),), intent="play music")


def views(task: Task, record: Record) -> list[View]:
    return list(VIEWS[task](record))


def test_joint() -> None:
    (view,) = views("joint", SENTENCE)
    relations = [
        ("Ann", "saw", "ACME"),
        ("Ann", "knows", "ACME"),
        ("ACME", "based in", "ACME ( in Oslo )"),
    ]
    assert parse_triples(view["answer"]) == relations
    assert view["answer"].endswith("( ACME ; based in ; ACME \\( in Oslo \\) )")
    assert parse_triples(view["full_answer"])[4:] == relations
    assert view["gold"] == ["based in", "saw", "knows"]


def test_ner() -> None:
    (view,) = views("ner", SENTENCE)
    names = [(head, kind) for head, _, kind in parse_triples(view["answer"])]
    assert names == [("Ann", "person"), ("ACME ( in Oslo )", "place"), ("ACME", "organization"), ("ACME", "firm")]
    assert views("ner", Record("Rain"))[0]["answer"] == "none"


def test_typing() -> None:
    found = views("typing", SENTENCE)
    assert [(view["mention"], view["type"]) for view in found] == [
        ("Ann", "person"),
        ("ACME", "organization, firm"),
        ("ACME ( in Oslo )", "place"),
    ]
    assert found[1]["marked"] == "Ann saw [ ACME ] ( in Oslo ) ."


def test_relation() -> None:
    assert [(view["head"], view["gold"], view["tail"]) for view in views("relation", SENTENCE)] == [
        ("ACME", ["based in"], "ACME ( in Oslo )"),
        ("Ann", ["saw", "knows"], "ACME"),
    ]


def test_roles() -> None:
    first, second = views("srl", SENTENCE)
    assert first["answer"] == "( saw ; ARG0 ; Ann ) ( saw ; ARG1 ; ACME )"
    assert (first["label"], first["marked"]) == ("see.01", "Ann [ saw ] ACME ( in Oslo ) .")
    assert second["answer"] == "none"


def test_events() -> None:
    (view,) = views("event", SENTENCE)
    assert view["answer"] == "( saw ; instance of ; Meeting )"
    (view,) = views("event_arguments", SENTENCE)
    assert (view["answer"], view["group"]) == ("( saw ; Visitor ; Ann )", "Meeting")


def test_dialogue_state() -> None:
    first, second = views("dialogue_state", DIALOGUE)
    assert (first["text"], first["answer"]) == ("user: Hello.", "none")
    assert second["text"] == "user: Hello.\nsystem: Yes?\nuser: A train on friday."
    assert second["answer"] == "( user ; a ; x \\; y ) ( user ; train-day ; friday )"


def test_slots_and_intent() -> None:
    (view,) = views("slot_filling", REQUEST)
    assert view["answer"] == "( play music ; item ; old song )"
    (view,) = views("intent", REQUEST)
    assert view["intent"] == "play music"
    assert views("intent", SENTENCE) == []


@pytest.mark.parametrize("task", list(VIEWS))
def test_every_template_of_ours_applies(task: Task) -> None:
    """Templates use only what the views give, and every target can be read back."""
    renderer = Renderer()
    for record in (SENTENCE, DIALOGUE, REQUEST):
        for view in views(task, record):
            for prompt in own_prompts(task):
                made = renderer.render(prompt, {**view, "labels": ["other", *view["gold"]]}, "seed")
                assert made is not None
                assert renderer.names(prompt) <= {*view, "labels"}
                triples = parse_triples(made.target)
                if "( " in made.target:
                    assert all(all(part for part in triple) for triple in triples)
                else:
                    assert made.target in ("none", view.get("type"), view.get("relation"), view.get("intent"))
                if prompt.choices_in_prompt:
                    assert all(label in made.input for label in view["gold"])
