"""Corpora with a layout of their own: ADE, FewRel, MultiWOZ."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from glm130b.errors import DataError
from glm130b.instructions.neutral import Entity, Record, Relation, Turn, spaced
from glm130b.lines import fault, read_json_file, read_lines

ADE_FILES = ("DRUG-AE.rel", "DRUG-DOSE.rel", "ADE-NEG.txt")
_ADE = {"DRUG-AE.rel": ("adverse effect", "has adverse effect"), "DRUG-DOSE.rel": ("dose", "has dose")}

Mention = tuple[str, int, str]
"""Text, offset in the abstract, type."""
Pair = tuple[Mention, str, Mention]
"""A drug, the relation, and its effect or dose."""


def read_ade(path: Path) -> Iterator[Record]:
    """The ADE corpus: a folder with its ``.rel`` files, or one of its three files.

    ``ADE-NEG.txt`` has to be named: its sentences state no adverse effect, but their drugs are not marked.

    A line of a ``.rel`` file is one pair of a drug and an effect or a dose, so sentences recur: they are
    merged. Offsets count from the start of the abstract, which is not given; where the sentence starts
    follows from them. Files are read whole.
    """
    sentences: dict[tuple[str, str], list[Pair]] = {}
    files = [path / name for name in _ADE if (path / name).is_file()] if path.is_dir() else [path]
    if not files:
        raise DataError(f"{path} holds none of {', '.join(_ADE)}.", "Check path and format.")
    for file in files:
        for number, line in read_lines(file):
            if file.suffix == ".txt" and line.strip():
                name, mark, text = [*line.split(" ", 2), "", ""][:3]
                if mark != "NEG" or not text:
                    raise fault(file, number, "this is not of the form `number NEG sentence`")
                sentences.setdefault((name, text.strip()), [])
            elif line.strip():
                name, text, pair = _pair(file, number, line)
                sentences.setdefault((name, text), []).append(pair)
    for (_, text), pairs in sentences.items():
        yield _merged(text, pairs)


def _pair(file: Path, number: int, line: str) -> tuple[str, str, Pair]:
    kind, relation = _ADE.get(file.name, ("", ""))
    try:
        name, text, other, start, _, drug, drug_start, _ = line.split("|")
        if not kind or other not in text or drug not in text:
            raise ValueError
        return name, text, ((drug, int(drug_start), "drug"), relation, (other, int(start), kind))
    except ValueError:
        raise fault(file, number, "this is not a pair of a drug and an effect or dose in a sentence") from None


def _merged(text: str, pairs: Iterable[Pair]) -> Record:
    """One record of a sentence; entities in the order they stand there."""
    mentions = {mention for head, _, tail in pairs for mention in (head, tail)}
    starts = [{offset - place for place in _places(text, word)} for word, offset, _ in mentions]
    bases = set.intersection(*starts) if starts else set()

    def entity(mention: Mention) -> Entity:
        word, offset, kind = mention
        start = offset - max(bases) if bases else text.index(word)
        return Entity(start, start + len(word), kind)

    entities = sorted({entity(mention) for mention in mentions}, key=lambda span: (span.start, -span.end, span.type))
    number = {span: place for place, span in enumerate(entities)}
    relations = [Relation(number[entity(head)], name, number[entity(tail)]) for head, name, tail in pairs]
    return Record(text, tuple(entities), tuple(dict.fromkeys(relations)))


def _places(text: str, word: str) -> Iterator[int]:
    place = text.find(word)
    while place >= 0:
        yield place
        place = text.find(word, place + 1)


def read_fewrel(path: Path) -> Iterator[Record]:
    """FewRel: sentences by property number, head and tail as lists of token numbers; ``pid2name.json`` beside it."""
    names = read_json_file(path.with_name("pid2name.json"))
    tree = read_json_file(path)
    if not isinstance(tree, dict) or not isinstance(names, dict):
        raise DataError(f"{path} or pid2name.json beside it is no JSON object.", "Copy FewRel's files again.")
    for relation, sentences in tree.items():
        if relation not in names:
            raise DataError(f"{path}: pid2name.json does not name {relation}.", "Copy FewRel's files again.")
        for number, sentence in enumerate(sentences):
            try:
                text = spaced(sentence["tokens"])
                spans = [text.span(min(tokens), max(tokens)) for _, _, (tokens, *_) in (sentence["h"], sentence["t"])]
                entities = tuple(Entity(*span, "entity") for span in spans)
                yield Record(text.text, entities, (Relation(0, str(names[relation][0]), 1),))
            except (TypeError, ValueError, KeyError, IndexError):
                raise DataError(
                    f"{path}: sentence {number} of {relation} has not tokens, h and t as FewRel has them.",
                    "Copy FewRel's files again.",
                ) from None


def read_multiwoz(path: Path) -> Iterator[Record]:
    """MultiWOZ 2.2: one file of dialogues; a user's turn holds the state by service, spellings of a value by slot."""
    tree = read_json_file(path)
    if not isinstance(tree, list):
        raise DataError(f"{path} is no list of dialogues.", "Copy MultiWOZ's files again.")
    for number, dialogue in enumerate(tree):
        try:
            yield Record(turns=tuple(_turn(turn) for turn in dialogue["turns"]))
        except (TypeError, ValueError, KeyError, AttributeError):
            raise DataError(
                f"{path}: dialogue {number} has not turns, frames and slot_values as MultiWOZ 2.2 has them.",
                "Copy MultiWOZ's files again.",
            ) from None


def _turn(turn: dict[str, Any]) -> Turn:
    speaker = str(turn["speaker"]).lower()
    if speaker != "user":
        return Turn(speaker, turn["utterance"])
    state: dict[str, tuple[str, ...]] = {}
    for frame in turn["frames"]:
        for slot, values in frame["state"]["slot_values"].items():
            state[slot] = tuple(map(str, values))
    return Turn(speaker, turn["utterance"], state)
