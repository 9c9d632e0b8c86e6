"""Questions on passages with several right answers, in the layout of SQuAD: CMRC2018 and DRCD."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from glm130b.evaluation.items import Item
from glm130b.evaluation.readers.folding import cluster_of
from glm130b.evaluation.readers.reader import field_of, malformed, reader
from glm130b.lines import read_json_file

_EXPECTED = (
    "JSON in the layout of SQuAD 1.1: data, a list with paragraphs, each with context and qas, "
    "each with id, question and answers (one or more with text)"
)


@reader("squad_style")
def read_squad_style(files: Sequence[Path]) -> Iterator[Item]:
    """Passages with questions, answered in free text.

    Templates see ``context``, ``question`` and ``answers``, each different answer once. The questions on a passage
    are one cluster. ``answer_start`` is not read: CMRC2018 has it wrong in places.
    """
    for file in files:
        data = field_of(read_json_file(file), "data", list, file, "data", _EXPECTED)
        for n, article in enumerate(data, start=1):
            for m, paragraph in enumerate(
                field_of(article, "paragraphs", list, file, f"article {n}", _EXPECTED), start=1
            ):
                yield from _questions(paragraph, file, f"article {n}, paragraph {m}")


def _questions(paragraph: Any, file: Path, place: str) -> Iterator[Item]:
    context = field_of(paragraph, "context", str, file, place, _EXPECTED)
    cluster = cluster_of(context)
    for number, entry in enumerate(field_of(paragraph, "qas", list, file, place, _EXPECTED), start=1):
        where = f"{place}, question {number}"
        name = field_of(entry, "id", str, file, where, _EXPECTED)
        question = field_of(entry, "question", str, file, where, _EXPECTED)
        given = field_of(entry, "answers", list, file, where, _EXPECTED)
        texts = [field_of(answer, "text", str, file, where, _EXPECTED) for answer in given]
        answers = tuple(dict.fromkeys(text for text in texts if text.strip()))
        if not answers:
            raise malformed(file, where, "it has no answer", _EXPECTED)
        yield Item(
            f"{file.name}#{name}",
            {"context": context, "question": question, "answers": list(answers)},
            references=answers,
            cluster=cluster,
        )
