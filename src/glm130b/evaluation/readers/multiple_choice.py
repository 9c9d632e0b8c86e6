"""Questions with options of their own: CommonsenseQA, OpenBookQA, MathQA; PubMedQA with yes, no or maybe."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from glm130b.evaluation.items import Item
from glm130b.evaluation.readers.reader import field_of, json_lines, json_list, malformed, reader
from glm130b.lines import read_json_file

_AI2 = "JSON lines with id, question (stem, and choices with label and text) and answerKey, the label of one of them"
_MATH = 'a JSON list of objects with Problem, options ("a ) 1 , b ) 2 , …, e ) 5") and correct, one of a to e'
_PUBMED = "a JSON object of objects with QUESTION, CONTEXTS (a list) and final_decision (yes, no or maybe), by id"

_OPTIONS = re.compile(" , ".join(rf"{letter} \) (?:{letter} \) )?(.*?)" for letter in "abcde"), re.DOTALL)
_DECISIONS = ("yes", "no", "maybe")


@reader("ai2_choice")
def read_ai2_choice(files: Sequence[Path]) -> Iterator[Item]:
    """Questions as the Allen Institute publishes them: CommonsenseQA, OpenBookQA, ARC.

    Where the right option is there twice, as in six questions of CommonsenseQA's dev set, either is right.
    """
    for file, number, record in json_lines(files):
        question = field_of(record, "question", dict, file, number, _AI2)
        choices = field_of(question, "choices", list, file, number, _AI2)
        labels = [field_of(choice, "label", str, file, number, _AI2) for choice in choices]
        key = field_of(record, "answerKey", str, file, number, _AI2)
        if labels.count(key) != 1:
            raise malformed(file, number, f"answerKey {key!r} is not one of {', '.join(labels)}", _AI2)
        stem = field_of(question, "stem", str, file, number, _AI2).strip()
        texts = [field_of(choice, "text", str, file, number, _AI2).strip() for choice in choices]
        label = labels.index(key)
        name = field_of(record, "id", str, file, number, _AI2)
        yield Item(name, {"question": stem, "choices": texts, "label": label}, labels=_alike(texts, label))


@reader("math_qa")
def read_math_qa(files: Sequence[Path]) -> Iterator[Item]:
    """Problems with five options, which stand in one text; an option's letter may be there twice.

    Some of these texts are the list of options as Python writes it. An option that is the same as the right one is
    right too.
    """
    for file in files:
        for number, (place, record) in enumerate(json_list(file, _MATH)):
            choices = _split_options(field_of(record, "options", str, file, place, _MATH))
            correct = field_of(record, "correct", str, file, place, _MATH)
            if not choices or not all(choices) or correct not in tuple("abcde"):
                raise malformed(file, place, "there are not five options, or the right one is none of them", _MATH)
            label = "abcde".index(correct)
            problem = field_of(record, "Problem", str, file, place, _MATH).strip()
            fields = {"question": problem, "choices": choices, "label": label}
            group = record.get("category", "") if isinstance(record.get("category", ""), str) else ""
            yield Item(f"{file.name}#{number}", fields, labels=_alike(choices, label), group=group)


@reader("pubmed_qa")
def read_pubmed_qa(files: Sequence[Path]) -> Iterator[Item]:
    """Abstracts without their conclusion, and a question; labels 0 yes, 1 no, 2 maybe."""
    for file in files:
        records = read_json_file(file)
        if not isinstance(records, dict):
            raise malformed(file, 1, f"this is a {type(records).__name__}", _PUBMED)
        for name, record in records.items():
            decision = field_of(record, "final_decision", str, file, name, _PUBMED)
            contexts = field_of(record, "CONTEXTS", list, file, name, _PUBMED)
            if decision not in _DECISIONS or not all(isinstance(part, str) for part in contexts):
                raise malformed(file, name, f"final_decision is {decision!r}, or a context is no text", _PUBMED)
            label = _DECISIONS.index(decision)
            question = field_of(record, "QUESTION", str, file, name, _PUBMED).strip()
            fields = {"context": " ".join(contexts), "question": question, "label": label}
            yield Item(name, fields, labels=(label,))


def _alike(choices: Sequence[str], label: int) -> tuple[int, ...]:
    """Numbers of the options that read like the right one: no text tells them apart."""
    return tuple(n for n, choice in enumerate(choices) if choice == choices[label])


def _split_options(text: str) -> list[str]:
    """Five options without their letters; none if it is something else."""
    if text.startswith("["):
        try:
            text = " , ".join(map(str, ast.literal_eval(text)))
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            return []
    found = _OPTIONS.fullmatch(text.strip())
    return [choice.strip() for choice in found.groups()] if found else []
