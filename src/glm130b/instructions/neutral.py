"""One schema for text with structure on it, whatever the dataset; spans count characters, the end is exclusive."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from glm130b.lines import fault, read_json_line, read_lines

_CLOSED = ConfigDict(extra="forbid")


@dataclass(frozen=True)
class Entity:
    """A mention and its type; a slot of an utterance is one too."""

    start: int
    end: int
    type: str
    __pydantic_config__ = _CLOSED


@dataclass(frozen=True)
class Relation:
    """A typed pair of entities, given by their numbers in the record."""

    head: int
    type: str
    tail: int
    __pydantic_config__ = _CLOSED


@dataclass(frozen=True)
class Argument:
    """What plays a role for a predicate or an event."""

    start: int
    end: int
    role: str
    __pydantic_config__ = _CLOSED


@dataclass(frozen=True)
class Frame:
    """A predicate with its sense, or an event's trigger with its type, and the arguments."""

    start: int
    end: int
    label: str
    arguments: tuple[Argument, ...] = ()
    __pydantic_config__ = _CLOSED


@dataclass(frozen=True)
class Turn:
    """One utterance of a dialogue; ``state`` is all that is known after it: values by slot."""

    speaker: str
    text: str
    state: Mapping[str, tuple[str, ...]] | None = None
    __pydantic_config__ = _CLOSED


@dataclass(frozen=True)
class Record:
    """One sentence, utterance or dialogue with what is annotated on it."""

    text: str = ""
    entities: tuple[Entity, ...] = ()
    relations: tuple[Relation, ...] = ()
    predicates: tuple[Frame, ...] = ()
    events: tuple[Frame, ...] = ()
    intent: str | None = None
    turns: tuple[Turn, ...] = field(default=())
    __pydantic_config__ = _CLOSED

    def mention(self, span: Entity | Argument | Frame) -> str:
        """The text of a span."""
        return self.text[span.start : span.end]


@dataclass(frozen=True)
class SpacedText:
    """Tokens as a text; ``starts`` and ``ends`` give each token's characters."""

    text: str
    starts: tuple[int, ...]
    ends: tuple[int, ...]

    def span(self, first: int, last: int) -> tuple[int, int]:
        """Characters from token ``first`` to token ``last``, both included."""
        return self.starts[first], self.ends[last]


def spaced(tokens: Sequence[str], glued: Sequence[bool] | None = None) -> SpacedText:
    """Join tokens with one blank between; ``glued`` says after which there is none."""
    text, starts, ends = "", [], []
    for number, token in enumerate(tokens):
        starts.append(len(text))
        text += token
        ends.append(len(text))
        if number + 1 < len(tokens) and not (glued is not None and glued[number]):
            text += " "
    return SpacedText(text, tuple(starts), tuple(ends))


def read_neutral(path: Path) -> Iterator[Record]:
    """JSON lines of this schema; with ``tokens`` in place of ``text``, spans count tokens.

    Raises:
        DataError: a line is not of the schema, or a span or number lies outside.
    """
    for number, line in read_lines(path):
        if not line.strip():
            continue
        fields = read_json_line(path, number, line)
        try:
            record = _adapter().validate_python(_in_characters(fields) if "tokens" in fields else fields)
            check(record)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            raise fault(path, number, f"{place} is not of the schema ({first['msg']})") from None
        except (TypeError, KeyError, IndexError):
            raise fault(path, number, "spans do not fit the tokens") from None
        except ValueError as error:
            raise fault(path, number, str(error)) from None
        yield record


def check(record: Record) -> None:
    """Refuse spans outside the text and relations of entities that are not there.

    Raises:
        ValueError: which.
    """
    frames = (*record.predicates, *record.events)
    spans: list[Entity | Frame | Argument] = [*record.entities, *frames]
    for span in (*spans, *(argument for frame in frames for argument in frame.arguments)):
        if not 0 <= span.start < span.end <= len(record.text):
            raise ValueError(f"the span {span.start} to {span.end} is not inside a text of {len(record.text)}")
    for relation in record.relations:
        if not (0 <= relation.head < len(record.entities) and 0 <= relation.tail < len(record.entities)):
            raise ValueError(f"a relation names entity {relation.head} or {relation.tail}, which is not there")


@cache
def _adapter() -> TypeAdapter[Record]:
    return TypeAdapter(Record)


def _in_characters(fields: dict[str, Any]) -> dict[str, Any]:
    tokens = fields["tokens"]
    if not (isinstance(tokens, list) and all(isinstance(token, str) for token in tokens)):
        raise ValueError("tokens is no list of texts")
    text = spaced(tokens)

    def moved(span: dict[str, Any]) -> dict[str, Any]:
        if not 0 <= span["start"] < span["end"] <= len(text.starts):
            raise IndexError
        start, end = text.span(span["start"], span["end"] - 1)
        below = {"arguments": [moved(argument) for argument in span["arguments"]]} if "arguments" in span else {}
        return {**span, **below, "start": start, "end": end}

    groups = {key: [moved(span) for span in fields.get(key, ())] for key in ("entities", "predicates", "events")}
    return {key: value for key, value in fields.items() if key != "tokens"} | groups | {"text": text.text}
