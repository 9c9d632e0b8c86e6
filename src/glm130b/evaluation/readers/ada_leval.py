"""Ada-LEval: long texts whose length can be chosen (arXiv:2404.06480)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from glm130b.evaluation.items import Item
from glm130b.evaluation.readers.folding import cluster_of
from glm130b.evaluation.readers.reader import field_of, malformed, one_file, reader
from glm130b.lines import read_json_file

_BEST_ANSWER = "a JSON list of records with question_id, question, all_answers and answer (A1, A2, …)"
_TSORT = "a JSON list of records with book_id, para_offset, prompt and answer (the right order of 1, 2, …)"


@reader("best_answer")
def read_best_answer(files: Sequence[Path], first: int | None = None) -> Iterator[Item]:
    """A question with all its ``answers``; the reference is the designation of the accepted one.

    Args:
        first: so many records; the published scores are of the first 1000, and of 200 from 32k on.
    """
    file = one_file(files, "BestAnswer of one length")
    for n, record in enumerate(_records(file, _BEST_ANSWER, first)):
        place = f"record {n}"
        answers = field_of(record, "all_answers", list, file, place, _BEST_ANSWER)
        right = field_of(record, "answer", str, file, place, _BEST_ANSWER)
        if right not in {f"A{number}" for number in range(1, len(answers) + 1)}:
            raise malformed(file, place, f"answer is {right!r} of {len(answers)} answers", _BEST_ANSWER)
        if not all(isinstance(answer, str) for answer in answers):
            raise malformed(file, place, "an answer is not a text", _BEST_ANSWER)
        question = field_of(record, "question", str, file, place, _BEST_ANSWER)
        fields = {"question": question.strip(), "answers": [answer.strip() for answer in answers], "answer": right}
        yield Item(f"{file.name}#{n}", fields, references=(right,), cluster=cluster_of(question))


@reader("text_sort")
def read_text_sort(files: Sequence[Path], first: int | None = None) -> Iterator[Item]:
    """A ``prompt`` that holds segments of a book in disorder; the reference is their order, as a JSON list.

    Args:
        first: as for BestAnswer.
    """
    file = one_file(files, "TSort of one length")
    for n, record in enumerate(_records(file, _TSORT, first)):
        place = f"record {n}"
        prompt = field_of(record, "prompt", str, file, place, _TSORT)
        order = field_of(record, "answer", (list, str), file, place, _TSORT)
        try:
            order = json.loads(order) if isinstance(order, str) else order
            if sorted(order) != list(range(1, len(order) + 1)) or len(order) < 2:
                raise ValueError
        except (ValueError, TypeError):
            raise malformed(file, place, f"answer is {str(order)[:40]!r}", _TSORT) from None
        book = str(field_of(record, "book_id", (str, int), file, place, _TSORT))
        fields = {"prompt": prompt.strip(), "answer": json.dumps(order)}
        yield Item(f"{file.name}#{n}", fields, references=(fields["answer"],), cluster=book)


def _records(file: Path, expected: str, first: int | None) -> list[Any]:
    records = read_json_file(file)
    if not isinstance(records, list):
        raise malformed(file, "the whole", f"this is {type(records).__name__}", expected)
    return records[:first]
