"""C3: documents with questions that have two to four options each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from glm130b.evaluation.items import Item
from glm130b.evaluation.readers.folding import cluster_of
from glm130b.evaluation.readers.reader import field_of, malformed, reader
from glm130b.lines import read_json_file

_EXPECTED = (
    "a JSON list of [lines of the document, questions, id], each question with question, "
    "choice (two or more texts) and answer (one of them)"
)


@reader("c3")
def read_c3(files: Sequence[Path]) -> Iterator[Item]:
    """Questions on dialogues (``c3-d``) and on other texts (``c3-m``); the file is the group.

    Templates see ``document``, ``question``, ``choices``, ``label`` and ``answer``. The questions of a document are
    one cluster.
    """
    for file in files:
        documents = read_json_file(file)
        if not isinstance(documents, list):
            raise malformed(file, 1, "this is no list", _EXPECTED)
        for number, document in enumerate(documents, start=1):
            yield from _questions(document, file, f"document {number}")


def _questions(document: object, file: Path, place: str) -> Iterator[Item]:
    if not (isinstance(document, list) and len(document) == 3 and all(isinstance(part, list) for part in document[:2])):
        raise malformed(file, place, "this is no list of three", _EXPECTED)
    lines, questions, name = document
    if not isinstance(name, str) or not lines or not all(isinstance(line, str) for line in lines):
        raise malformed(file, place, "its lines or its id are no texts", _EXPECTED)
    text = "\n".join(lines)
    for number, entry in enumerate(questions, start=1):
        where = f"{place}, question {number}"
        question = field_of(entry, "question", str, file, where, _EXPECTED)
        choices = field_of(entry, "choice", list, file, where, _EXPECTED)
        answer = field_of(entry, "answer", str, file, where, _EXPECTED)
        if len(choices) < 2 or not all(isinstance(choice, str) and choice for choice in choices):
            raise malformed(file, where, f"there are {len(choices)} options, or one is no text", _EXPECTED)
        labels = tuple(n for n, choice in enumerate(choices) if choice == answer)
        if not labels:
            raise malformed(file, where, f"the answer {answer!r} is none of the options", _EXPECTED)
        yield Item(
            f"{file.name}#{name}/{number}",
            {"document": text, "question": question, "choices": choices, "label": labels[0], "answer": answer},
            labels=labels,
            group=file.stem,
            cluster=cluster_of(text),
        )
