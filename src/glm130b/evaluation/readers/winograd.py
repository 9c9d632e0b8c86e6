"""Winograd and Winogender schemas: what does the pronoun mean?"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from xml.etree import ElementTree

from glm130b.errors import DataError
from glm130b.evaluation.items import Item
from glm130b.evaluation.readers.reader import malformed, one_file, reader
from glm130b.lines import blocks, read_lines

_XML = "the Winograd collection: schemas with text (txt1, pron, txt2), two answers and correctAnswer (A or B)"
_TEXT = "blocks of four lines: sentence with [MASK], pronoun, the candidates with a comma between, the right one"
_WINOGENDER = "a header and two columns divided by a tab: sentid (occupation.participant.answer.gender.txt), sentence"

_ARTICLES = ("The", "A", "An", "My", "His", "Her", "Their", "Our")
_FORMS = {
    "male": ("he", "him", "his"),
    "female": ("she", "her", "hers"),
    "neutral": ("they", "them", "their", "theirs"),
}


@reader("winograd")
def read_winograd(files: Sequence[Path], first: int | None = None) -> Iterator[Item]:
    """Sentences in parts ``before``, ``pronoun``, ``after``, and two ``choices``.

    Two layouts are read: the collection's XML, and text, which does not tell the pronoun (it is empty) and puts the
    right candidate first, so that they are sorted here. Schemas that follow one another and share a candidate are a
    cluster.

    Args:
        first: so many schemas of the file; Winograd273 is the first 273.
    """
    xml = [file for file in files if file.suffix == ".xml"]
    file = one_file(xml or files, "The Winograd set")
    cluster, candidates = 0, set[str]()
    for n, item in enumerate(islice(_xml(file) if xml else _text(file), first), start=1):
        own = {choice.lower() for choice in item.fields["choices"]}
        cluster, candidates = (cluster if own & candidates else n), own
        yield Item(item.id, item.fields, labels=item.labels, cluster=f"{file.name}#{cluster}")


@reader("winogender")
def read_winogender(files: Sequence[Path]) -> Iterator[Item]:
    """Sentences that differ in the pronoun's gender; ``pair`` joins the male and the female one.

    The choices are the occupation and the other person.
    """
    for file in files:
        for number, line in read_lines(file):
            cells = line.split("\t")
            name = cells[0].removesuffix(".txt").split(".")
            if number == 1 and cells == ["sentid", "sentence"]:
                continue
            if len(cells) != 2 or len(name) != 4 or name[2] not in ("0", "1") or name[3] not in _FORMS:
                raise malformed(file, number, f"this is {line[:60]!r}", _WINOGENDER)
            occupation, participant, answer, gender = name
            template = ".".join(name[:3])
            choices = [_article(occupation, cells[1]), _article(participant, cells[1])]
            yield Item(
                cells[0].removesuffix(".txt"),
                {
                    "sentence": cells[1].strip(),
                    "pronoun": _pronoun(cells[1], gender, file, number),
                    "choices": choices,
                    "label": int(answer),
                    "gender": gender,
                    "pair": template if gender != "neutral" else "",
                },
                labels=(int(answer),),
                group=gender,
                cluster=f"{occupation}.{participant}",
            )


def _xml(file: Path) -> Iterator[Item]:
    try:
        schemas = ElementTree.parse(file).getroot().findall("schema")
    except (OSError, ElementTree.ParseError, ValueError) as error:
        raise DataError(f"{file} is not readable XML: {error}.", f"Expected is {_XML}.") from None
    for n, schema in enumerate(schemas, start=1):
        before, pronoun, after = (_line(schema.findtext(f"text/{part}")) for part in ("txt1", "pron", "txt2"))
        choices = [_lower_article(_line(answer.text)) for answer in schema.findall("answers/answer")]
        right = _line(schema.findtext("correctAnswer")).rstrip(".")
        if len(choices) != 2 or right not in ("A", "B") or not pronoun:
            raise malformed(
                file, f"schema {n}", f"{len(choices)} answers, right is {right!r}, pronoun {pronoun!r}", _XML
            )
        yield _schema(f"{file.name}#{n}", before, pronoun, after, choices, "AB".index(right))


def _text(file: Path) -> Iterator[Item]:
    for n, (number, lines) in enumerate(blocks(file), start=1):
        before, gap, after = lines[0].partition("[MASK]")
        choices = sorted(_lower_article(_line(part)) for part in lines[2].split(",")) if len(lines) == 4 else []
        right = _lower_article(_line(lines[3])) if len(lines) == 4 else ""
        if not gap or len(choices) != 2 or right not in choices:
            raise malformed(file, number, f"a block of {len(lines)} lines without blank or right candidate", _TEXT)
        pronoun = "" if lines[1].strip() == "[MASK]" else lines[1].strip()
        yield _schema(f"{file.name}#{n}", _line(before), pronoun, _line(after), choices, choices.index(right))


def _schema(name: str, before: str, pronoun: str, after: str, choices: list[str], label: int) -> Item:
    """``before`` and ``after`` get the blanks that divide them from the pronoun, so that they can be put together."""
    before = before if not before or before.endswith(('"', "(")) else before + " "
    after = after if re.match(r"[.,;:?!']", after) else " " + after
    fields = {"before": before, "pronoun": pronoun, "after": after, "choices": choices, "label": label}
    return Item(name, fields, labels=(label,))


def _line(text: str | None) -> str:
    return " ".join((text or "").split())


def _lower_article(text: str) -> str:
    first, blank, rest = text.partition(" ")
    return first.lower() + blank + rest if first in _ARTICLES and blank else text


def _article(noun: str, sentence: str) -> str:
    """A person with the article that the sentence gives, if any."""
    return f"the {noun}" if re.search(rf"\bthe {re.escape(noun)}\b", sentence, re.IGNORECASE) else noun


def _pronoun(sentence: str, gender: str, file: Path, number: int) -> str:
    found = [word for word in re.findall(r"[a-z]+", sentence.lower()) if word in _FORMS[gender]]
    if len(found) != 1:
        raise malformed(file, number, f"{len(found)} words of {sentence[:60]!r} are {gender} pronouns", _WINOGENDER)
    return str(found[0])
