"""Structured tasks: what the templates of each see of a record.

One record gives one view or several (a view for each predicate, event, pair, turn). Every view has ``gold``,
the labels that are right for it; all of them together are the ``labels`` that the templates offer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from glm130b.config import Task
from glm130b.instructions.neutral import Argument, Entity, Frame, Record
from glm130b.instructions.triples import format_triples

View = dict[str, Any]

INSTANCE = "instance of"
"""The relation of a mention to its type."""


def joint(record: Record) -> Iterator[View]:
    """Entities with their types, and the relations between them."""
    if not record.text:
        return
    relations = [
        (record.mention(record.entities[r.head]), r.type, record.mention(record.entities[r.tail]))
        for r in sorted(record.relations, key=lambda r: (record.entities[r.head].start, record.entities[r.tail].start))
    ]
    entities = _typed(record)
    yield {
        "text": record.text,
        "gold": list(dict.fromkeys(r.type for r in record.relations)),
        "types": list(dict.fromkeys(entity.type for entity in record.entities)),
        "answer": format_triples(relations),
        "full_answer": format_triples([*entities, *relations]),
    }


def ner(record: Record) -> Iterator[View]:
    """Named entities with their types."""
    if record.text:
        gold = list(dict.fromkeys(entity.type for entity in record.entities))
        yield {"text": record.text, "gold": gold, "answer": format_triples(_typed(record))}


def typing(record: Record) -> Iterator[View]:
    """The type of one entity."""
    kinds: dict[tuple[int, int], list[Entity]] = {}
    for entity in record.entities:
        kinds.setdefault((entity.start, entity.end), []).append(entity)
    for entities in kinds.values():
        mention = record.mention(entities[0])
        gold = list(dict.fromkeys(entity.type for entity in entities))
        yield {
            "text": record.text,
            "marked": _marked(record, entities[0]),
            "mention": mention,
            "gold": gold,
            "type": ", ".join(gold),
            "answer": format_triples((mention, INSTANCE, kind) for kind in gold),
        }


def relation(record: Record) -> Iterator[View]:
    """The relation between two entities that have one."""
    pairs: dict[tuple[int, int], list[str]] = {}
    for link in record.relations:
        pairs.setdefault((link.head, link.tail), []).append(link.type)
    for (first, second), names in pairs.items():
        head, tail = record.mention(record.entities[first]), record.mention(record.entities[second])
        gold = list(dict.fromkeys(names))
        yield {
            "text": record.text,
            "head": head,
            "tail": tail,
            "gold": gold,
            "relation": ", ".join(gold),
            "answer": format_triples((head, name, tail) for name in gold),
        }


def srl(record: Record) -> Iterator[View]:
    """The arguments of one predicate."""
    for frame in record.predicates:
        yield _frame_view(record, frame, "predicate")


def event(record: Record) -> Iterator[View]:
    """The triggers of all events, with their types."""
    if record.text:
        triples = [(record.mention(frame), INSTANCE, frame.label) for frame in sorted(record.events, key=_place)]
        gold = list(dict.fromkeys(frame.label for frame in record.events))
        yield {"text": record.text, "gold": gold, "answer": format_triples(triples)}


def event_arguments(record: Record) -> Iterator[View]:
    """The arguments of one event; the roles offered are those of events of its type."""
    for frame in record.events:
        yield {**_frame_view(record, frame, "trigger"), "group": frame.label}


def dialogue_state(record: Record) -> Iterator[View]:
    """What the user wants after each of the user's turns; of several spellings the first."""
    history: list[str] = []
    for turn in record.turns:
        history.append(f"{turn.speaker}: {turn.text}")
        if turn.state is not None:
            slots = {slot: values[0] for slot, values in sorted(turn.state.items()) if values}
            yield {
                "text": "\n".join(history),
                "turns": list(history),
                "gold": list(slots),
                "answer": format_triples(("user", slot, value) for slot, value in slots.items()),
            }


def slot_filling(record: Record) -> Iterator[View]:
    """The slots of one utterance, as relations of its intent (of ``user`` if it has none)."""
    if record.text:
        intent = record.intent or "user"
        spans = sorted(record.entities, key=_place)
        yield {
            "text": record.text,
            "intent": intent,
            "gold": list(dict.fromkeys(span.type for span in spans)),
            "answer": format_triples((intent, span.type, record.mention(span)) for span in spans),
        }


def intent(record: Record) -> Iterator[View]:
    """The intent of one utterance."""
    if record.intent is not None:
        yield {"text": record.text, "gold": [record.intent], "intent": record.intent}


VIEWS: dict[Task, Callable[[Record], Iterator[View]]] = {
    "joint": joint,
    "ner": ner,
    "typing": typing,
    "relation": relation,
    "srl": srl,
    "event": event,
    "event_arguments": event_arguments,
    "dialogue_state": dialogue_state,
    "slot_filling": slot_filling,
    "intent": intent,
}


def _place(span: Entity | Argument | Frame) -> tuple[int, int]:
    return span.start, -span.end


def _typed(record: Record) -> list[tuple[str, str, str]]:
    spans = sorted(record.entities, key=_place)
    return [(record.mention(entity), INSTANCE, entity.type) for entity in spans]


def _marked(record: Record, span: Entity | Frame) -> str:
    return f"{record.text[: span.start]}[ {record.mention(span)} ]{record.text[span.end :]}"


def _frame_view(record: Record, frame: Frame, name: str) -> View:
    mention = record.mention(frame)
    arguments = sorted(frame.arguments, key=_place)
    return {
        "text": record.text,
        "marked": _marked(record, frame),
        name: mention,
        "label": frame.label,
        "gold": list(dict.fromkeys(argument.role for argument in arguments)),
        "answer": format_triples((mention, argument.role, record.mention(argument)) for argument in arguments),
    }
