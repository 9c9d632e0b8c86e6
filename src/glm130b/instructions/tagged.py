"""Corpora of one token a line: CoNLL04, GENIA, SNIPS."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from glm130b.errors import DataError
from glm130b.instructions.neutral import Entity, Record, Relation, spaced
from glm130b.lines import blocks, fault, read_lines

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
