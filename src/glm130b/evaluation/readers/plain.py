"""Layouts of our own, for small sets and for users' own: JSON lines with text, choices and label."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from glm130b.evaluation.items import Item
from glm130b.evaluation.readers.reader import field_of, json_lines, malformed, reader

_CHOICE = "JSON lines with text, choices (two or more texts) and label (the index of the right one, or several)"
_TEXT = "JSON lines with text"
_ANSWER = "JSON lines with text and answers (one or more texts)"


@reader("plain_choice")
def read_plain_choice(files: Sequence[Path]) -> Iterator[Item]:
    """Questions with options of their own; ``group`` may name a category."""
    for file, number, record in json_lines(files):
        choices = field_of(record, "choices", list, file, number, _CHOICE)
        label = field_of(record, "label", (int, list), file, number, _CHOICE)
        labels = tuple(label) if isinstance(label, list) else (label,)
        if len(choices) < 2 or not all(isinstance(choice, str) and choice for choice in choices):
            raise malformed(file, number, f"there are {len(choices)} choices, or one is no text", _CHOICE)
        if not labels or not all(isinstance(one, int) and 0 <= one < len(choices) for one in labels):
            raise malformed(file, number, f"label {label} is none of {len(choices)} choices", _CHOICE)
        field_of(record, "text", str, file, number, _CHOICE)
        yield Item(f"{file.name}#{number}", record, labels=labels, group=str(record.get("group", "")))


@reader("plain_text")
def read_plain_text(files: Sequence[Path]) -> Iterator[Item]:
    """Documents."""
    for file, number, record in json_lines(files):
        field_of(record, "text", str, file, number, _TEXT)
        yield Item(f"{file.name}#{number}", record, group=str(record.get("group", "")))


@reader("plain_answer")
def read_plain_answer(files: Sequence[Path]) -> Iterator[Item]:
    """Questions with free answers."""
    for file, number, record in json_lines(files):
        field_of(record, "text", str, file, number, _ANSWER)
        answers = field_of(record, "answers", list, file, number, _ANSWER)
        if not answers or not all(isinstance(answer, str) for answer in answers):
            raise malformed(file, number, "answers holds no text, or something else", _ANSWER)
        yield Item(f"{file.name}#{number}", record, references=tuple(answers), group=str(record.get("group", "")))
