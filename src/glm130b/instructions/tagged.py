"""Corpora of one token a line: CoNLL04, GENIA, SNIPS, Universal PropBank."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from glm130b.errors import DataError
from glm130b.instructions.lines import blocks, fault, read_lines
from glm130b.instructions.neutral import Argument, Entity, Frame, Record, Relation, spaced

_CONLL04 = {
    "Peop": "person",
    "Loc": "location",
    "Org": "organization",
    "Other": "other",
    "Live_In": "lives in",
    "Located_In": "located in",
    "OrgBased_In": "organization based in",
    "Work_For": "works for",
    "Kill": "kills",
}


def bio_spans(tags: Sequence[str]) -> list[tuple[int, int, str]]:
    """First token, last token and type of each span; an I without its B begins a span."""
    spans: list[tuple[int, int, str]] = []
    for number, tag in enumerate(tags):
        prefix, _, kind = tag.partition("-")
        goes_on = prefix == "I" and spans and spans[-1][1] == number - 1 and spans[-1][2] == kind
        if goes_on:
            spans[-1] = (spans[-1][0], number, kind)
        elif prefix in ("B", "I"):
            spans.append((number, number, kind))
        elif tag != "O":
            raise ValueError(f"{tag!r} is not a tag of the kind B-x, I-x or O")
    return spans


def words(label: str) -> str:
    """A label as words: ``cell_type`` is ``cell type``, ``AddToPlaylist`` is ``add to playlist``."""
    if "_" in label or " " in label:
        return label.replace("_", " ")
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", label).lower() if re.search(r"[a-z][A-Z]", label) else label


def read_conll04(path: Path) -> Iterator[Record]:
    """``#doc`` begins a sentence; columns number, token, BIO tag, relation names, numbers of the other ends.

    Relations stand on the last token of the head and name the last token of the tail; ``N`` is none.
    """
    rows: list[tuple[int, list[str]]] = []
    for number, line in read_lines(path):
        if line.startswith("#doc"):
            if rows:
                yield _conll04(path, rows)
            rows = []
        elif line.strip():
            rows.append((number, line.split("\t")))
    if rows:
        yield _conll04(path, rows)


def _conll04(path: Path, rows: list[tuple[int, list[str]]]) -> Record:
    odd = [number for number, columns in rows if len(columns) != 5]
    if odd:
        raise fault(path, odd[0], "there are not the 5 columns of CoNLL04")
    place = 0
    try:
        text = spaced([columns[1] for _, columns in rows])
        spans = bio_spans([columns[2] for _, columns in rows])
        last = {end: place for place, (_, end, _) in enumerate(spans)}
        relations: list[Relation] = []
        for place, (_, columns) in enumerate(rows):
            if columns[3] == "['N']":
                continue
            names, others = ast.literal_eval(columns[3]), ast.literal_eval(columns[4])
            for name, other in zip(names, others, strict=True):
                if name != "N":
                    if place not in last or other not in last:
                        raise ValueError(f"the relation {name} does not join the ends of two entities")
                    relations.append(Relation(last[place], _CONLL04.get(name, words(name)), last[other]))
    except (ValueError, SyntaxError, TypeError, RecursionError) as error:
        raise fault(path, rows[place][0], str(error)) from None
    entities = tuple(Entity(*text.span(first, end), _CONLL04.get(kind, words(kind))) for first, end, kind in spans)
    return Record(text.text, entities, tuple(relations))


def read_genia(path: Path) -> Iterator[Record]:
    """A token and one column of BIO tags for each level of nesting; sentences with a blank line between."""
    for number, block in blocks(path):
        rows = [line.split("\t") for line in block]
        entities: list[Entity] = []
        try:
            if len({len(row) for row in rows}) > 1 or len(rows[0]) < 2:
                raise ValueError("the rows of a sentence have different numbers of columns, or one only")
            text = spaced([row[0] for row in rows])
            for column in list(zip(*rows, strict=True))[1:]:
                entities += [Entity(*text.span(first, last), words(kind)) for first, last, kind in bio_spans(column)]
        except ValueError as error:
            raise fault(path, number, str(error)) from None
        yield Record(text.text, tuple(sorted(dict.fromkeys(entities), key=lambda span: (span.start, -span.end))))


def read_snips(path: Path) -> Iterator[Record]:
    """A folder with ``seq.in``, ``seq.out`` (BIO tags of slots) and ``label`` (intents), line by line alike."""
    columns = [[line.split() for _, line in read_lines(path / name)] for name in ("seq.in", "seq.out", "label")]
    if len({len(column) for column in columns}) > 1:
        raise DataError(f"The files of {path} differ in their number of lines.", "Copy all three again.")
    for number, (tokens, tags, intent) in enumerate(zip(*columns, strict=True), start=1):
        if not tokens and not tags and not intent:
            continue
        try:
            if len(tokens) != len(tags):
                raise ValueError(f"{len(tags)} tags stand for {len(tokens)} words")
            if len(intent) != 1:
                raise ValueError("label has not one word here")
            text = spaced(tokens)
            slots = tuple(Entity(*text.span(first, last), words(kind)) for first, last, kind in bio_spans(tags))
        except ValueError as error:
            raise fault(path / "seq.out", number, str(error)) from None
        yield Record(text.text, slots, intent=words(intent[0]))


def read_propbank(path: Path) -> Iterator[Record]:
    """Universal PropBank: column 11 names a predicate's sense, then one column of arguments a predicate.

    An argument is marked on its syntactic head. Its span is the unbroken stretch around the head of what
    depends on it, or the head alone if the predicate depends on it.
    """
    for number, block in blocks(path):
        rows = [line.split("\t") for line in block if not line.startswith("#")]
        rows = [row for row in rows if re.fullmatch(r"\d+", row[0])]  # no ranges, no empty nodes
        if not rows:
            continue
        try:
            senses = [place for place, row in enumerate(rows) if len(row) > 10 and row[10] not in ("_", "")]
            if any("".join(row[11 + len(senses) :]) or len(row) < 10 + bool(senses) + len(senses) for row in rows):
                raise ValueError(f"there is not one column of arguments for each of {len(senses)} predicates")
            heads = [int(row[6]) - 1 for row in rows]
            text = spaced([row[1] for row in rows], ["SpaceAfter=No" in row[9].split("|") for row in rows])
            frames = [
                Frame(
                    *text.span(place, place),
                    rows[place][10],
                    tuple(
                        Argument(*text.span(*_subtree(heads, head, place)), row[11 + column])
                        for head, row in enumerate(rows)
                        if row[11 + column] not in ("_", "V")
                    ),
                )
                for column, place in enumerate(senses)
            ]
        except (ValueError, IndexError) as error:
            raise fault(path, number, str(error)) from None
        yield Record(text.text, predicates=tuple(frames))


def _subtree(heads: list[int], head: int, predicate: int) -> tuple[int, int]:
    """First and last token of the unbroken stretch around ``head`` of what depends on it."""

    def belongs(token: int) -> bool:
        for _ in heads:
            if token in (head, -1):
                break
            token = heads[token]
        return token == head

    if belongs(predicate):
        return head, head
    first = last = head
    while first > 0 and belongs(first - 1):
        first -= 1
    while last + 1 < len(heads) and belongs(last + 1):
        last += 1
    return first, last
